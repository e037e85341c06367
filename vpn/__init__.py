"""VPN gateways of this host, a process of its own: network namespaces, IKE daemons, and what they report."""
