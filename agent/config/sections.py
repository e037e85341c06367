"""The sections of the configuration, each setting with its default and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.config.reader import (
    LOWER_MAC,
    PORT_NAME,
    PORT_NAME_RULE,
    Take,
    is_address_or_prefix,
    is_block_size,
    is_endpoint,
    is_interface,
    is_prefix,
    list_of,
    one_of,
    some_text,
    that,
    whole,
)
from agent.config.values import TIMEOUTS, ApiSettings, BridgeSettings, ConntrackSettings
from agent.validation.objects import LEAST_RATE, MOST_RATE, is_domain, is_port_name
from state.addresses import is_address
from state.model import Appliance, Gateway, Storage

# What a configuration need not say.
DEFAULTS = Appliance(Gateway("uplink", "192.0.2.2/24", "192.0.2.1"), ())
STORAGE = Storage("storage", "192.0.2.2/24")
DATAPATH_TYPES = ("netdev", "system")
# Twice the kernel's own longest default, that of established TCP connections (5 days).
LONGEST_TIMEOUT = 86400 * 10


def api(take: Take) -> ApiSettings:
    """Where the API and the metrics are served."""
    defaults = ApiSettings()

    def listen(value: Any) -> str | None:
        values = value if isinstance(value, list) else [value]
        right = bool(values) and all(isinstance(v, str) and is_endpoint(v) for v in values)
        return None if right else "HOST:PORT or unix:PATH, or a list of them"

    at = take("api", "listen", list(defaults.listen), listen)
    metrics = that(lambda v: not v or (is_endpoint(v) and not v.startswith("unix:")), "HOST:PORT, or empty for none")
    return ApiSettings(
        listen=tuple(at) if isinstance(at, list) else (at,),
        metrics=take("api", "metrics", defaults.metrics, metrics),
    )


def bridge(take: Take) -> BridgeSettings:
    """The bridge the agent keeps."""
    defaults = BridgeSettings()
    return BridgeSettings(
        name=take("bridge", "name", defaults.name, PORT_NAME),
        ovsdb=take("bridge", "ovsdb", defaults.ovsdb, some_text),
        controller=take("bridge", "controller", defaults.controller, some_text),
        datapath_type=take("bridge", "datapath_type", defaults.datapath_type, one_of(*DATAPATH_TYPES)),
    )


def conntrack(take: Take) -> ConntrackSettings:
    """Connection tracking: size and timeouts, each timeout a setting of its own."""
    seconds = whole(1, LONGEST_TIMEOUT)
    return ConntrackSettings(
        max_entries=take("conntrack", "max_entries", ConntrackSettings().max_entries, whole(65_536, 1 << 26)),
        timeouts={
            state: take("conntrack", f"{state}_seconds", default, seconds) for state, default in TIMEOUTS.items()
        },
    )


def gateway(take: Take) -> dict[str, Any]:
    """Fields of `Gateway`."""
    return {
        "port": take("gateway", "port", None, PORT_NAME),
        "address": take("gateway", "address", None, that(is_interface, "ADDRESS/LENGTH of a host, 203.0.113.2/24")),
        "next_hop": take("gateway", "next_hop", None, that(is_address, "an IPv4 address")),
        "mac": take("gateway", "mac", DEFAULTS.gateway.mac, LOWER_MAC),
        "mtu": take("gateway", "mtu", DEFAULTS.gateway.mtu, whole(576, 9000)),
    }


def storage(take: Take) -> Storage | None:
    """The storage network; None without a port."""
    port_name = that(lambda v: not v or is_port_name(v), f"empty for none, or {PORT_NAME_RULE}")
    port = take("storage", "port", "", port_name)
    interface = that(lambda v: (not v and not port) or is_interface(v), "ADDRESS/LENGTH of a host, 10.250.0.2/24")
    values = {
        "address": take("storage", "address", "" if not port else None, interface),
        "mac": take("storage", "mac", STORAGE.mac, LOWER_MAC),
        "mtu": take("storage", "mtu", STORAGE.mtu, whole(576, 9000)),
        "clients": take("storage", "clients", STORAGE.clients, that(is_prefix(15), "a prefix of at most 15 bits")),
    }
    return Storage(port=port, **values) if port else None


def pools(take: Take) -> dict[str, Any]:
    """Fields of `Appliance` with addresses, each list as a tuple."""

    def prefixes(section: str, key: str, default: Sequence[str], longest: int, least: int = 1) -> tuple[str, ...]:
        allowed = f"IPv4 prefixes without host bits, of at most {longest} bits"
        return tuple(take(section, key, list(default), list_of(is_prefix(longest), allowed, least)))

    nat = list_of(is_address_or_prefix, "IPv4 addresses and prefixes", 1)
    return {
        "nat_pool": tuple(take("pools", "nat", None, nat) or ()),
        "isolated_pool": prefixes("pools", "isolated", DEFAULTS.isolated_pool, 30),
        "private_pool": prefixes("pools", "private", DEFAULTS.private_pool, 16),
        "transit_pool": prefixes("pools", "transit", DEFAULTS.transit_pool, 16),
        "public_pool": prefixes("pools", "public", DEFAULTS.public_pool, 32, 0),
        "protected": prefixes("protected", "prefixes", DEFAULTS.protected, 32, 0),
        "dns_servers": tuple(take("dhcp", "dns_servers", [], list_of(is_address, "IPv4 addresses"))),
        "dns_upstream": tuple(take("dns", "upstream", [], list_of(is_address, "IPv4 addresses"))),
    }


# The userspace datapath has room for 5,000 fragments that wait for the rest, and keeps each for 15 s.
USERSPACE_FRAGMENT_RATE = 50


def behaviour(take: Take, datapath_type: str) -> dict[str, Any]:
    """Fields of `Appliance` that are no addresses."""
    fragment_rate = DEFAULTS.fragment_rate if datapath_type == "system" else USERSPACE_FRAGMENT_RATE
    return {
        "block_size": take("pools", "block_size", DEFAULTS.block_size, is_block_size),
        "router_mac": take("dhcp", "router_mac", DEFAULTS.router_mac, LOWER_MAC),
        "domain": take("dhcp", "domain", DEFAULTS.domain, that(is_domain, "a domain name in lower case")),
        "lease_seconds": take("dhcp", "lease_seconds", DEFAULTS.lease_seconds, whole(60, 86400 * 7)),
        "dhcp_rate": take("limits", "dhcp_rate", DEFAULTS.dhcp_rate, whole(1, 10000)),
        "resolver_port": take(
            "dns",
            "port",
            DEFAULTS.resolver_port,
            that(lambda v: not v or is_port_name(v), f"empty, or {PORT_NAME_RULE}"),
        ),
        "router_rate": take("limits", "router_rate", DEFAULTS.router_rate, whole(1, 1_000_000)),
        "public_rate": take("limits", "public_kbps", DEFAULTS.public_rate, whole(LEAST_RATE, MOST_RATE)),
        "storage_rate": take("limits", "storage_kbps", DEFAULTS.storage_rate, whole(LEAST_RATE, MOST_RATE)),
        "icmp_error_rate": take("limits", "icmp_error_rate", DEFAULTS.icmp_error_rate, whole(1, 10000)),
        "connection_rate": take("limits", "connection_rate", DEFAULTS.connection_rate, whole(1, 1_000_000)),
        "fragment_rate": take("limits", "fragment_rate", fragment_rate, whole(1, 1_000_000)),
    }
