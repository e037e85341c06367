"""Packet tests see the fixtures `sandbox` and `tenants`."""

from sandboxes import sandbox, tenants

__all__ = ["sandbox", "tenants"]
