"""Allocation of addresses, ports and numbers."""
