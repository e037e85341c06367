"""Packet tests see the fixtures `sandbox`, `tenants`, `maker` and `forwarding`."""

from sandboxes import forwarding, maker, sandbox, tenants

__all__ = ["forwarding", "maker", "sandbox", "tenants"]
