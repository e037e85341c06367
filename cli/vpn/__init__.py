"""`sluicectl vpn`: gateways, connections, and the configuration of the other side."""
