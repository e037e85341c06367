"""The BGP daemon: interconnects, their namespaces and sessions."""
