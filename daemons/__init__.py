"""What the VPN and BGP daemons share: workers, network namespaces, veth ports and status rows."""
