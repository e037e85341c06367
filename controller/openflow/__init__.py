"""OpenFlow 1.4: messages, the bridge, and os-ken."""
