"""The agent's configuration: TOML text → frozen values, every mistake reported at once."""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.validation import NEVER_ROUTED, is_label, is_mac, is_port_name
from state.model import Appliance, Gateway

MAX_BLOCK_SIZE = 32768
# What a configuration need not say.
DEFAULTS = Appliance(Gateway("uplink", "192.0.2.2/24", "192.0.2.1"), ())
DATAPATH_TYPES = ("netdev", "system")


class ConfigError(Exception):
    """The configuration is unusable; `problems` holds every reason, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Addresses (`HOST:PORT` or `unix:PATH`) the API and the metrics (empty: none) listen on."""

    listen: tuple[str, ...] = ("unix:/run/sluice/api.sock",)
    metrics: str = "127.0.0.1:7401"


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """The bridge the agent keeps: `ovsdb` and `controller` are paths of unix sockets.

    Open vSwitch connects to a controller's socket only below the run directory
    it was built with, by that very name (`bridge_configure_remotes` in its
    vswitchd/bridge.c).
    """

    name: str = "br-sluice"
    ovsdb: str = "/var/run/openvswitch/db.sock"
    controller: str = "/var/run/openvswitch/sluice.sock"
    datapath_type: str = "system"


@dataclass(frozen=True, slots=True)
class Limits:
    """How many calls may stay open: watch streams, and calls waiting for flows."""

    watches: int = 64
    waiting_calls: int = 256


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the agent is told. Times are in seconds or days, as named."""

    appliance: Appliance
    database: str = "/run/sluice/database.sock"
    api: ApiSettings = field(default_factory=ApiSettings)
    bridge: BridgeSettings = field(default_factory=BridgeSettings)
    limits: Limits = field(default_factory=Limits)
    reuse_after_seconds: int = 300
    history_days: int = 30
    log_level: str = "info"


def load(path: str) -> Config:
    """Read the configuration file at `path`. Raises ConfigError."""
    try:
        return parse(Path(path).read_text())
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error


class _Reader:
    """Takes known keys out of the parsed file, noting each mistake."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.problems: list[str] = []
        self._read: dict[str, set[str]] = {}

    def take(self, section: str, key: str, default: Any, check: Callable[[Any], str | None]) -> Any:
        """The value of `section.key` or `default`; `check` answers what is allowed, None when it is right."""
        self._read.setdefault(section, set()).add(key)
        table = self._document.get(section, {})
        if not isinstance(table, dict) or key not in table:
            if default is None:
                self.problems.append(f"{section}.{key} is missing")
            return default
        allowed = check(table[key])
        if allowed is not None:
            self.problems.append(f"{section}.{key} is {table[key]!r}; allowed: {allowed}")
            return default
        return table[key]

    def unknown(self) -> None:
        """Note every section and key that nothing asked for."""
        for section, table in self._document.items():
            known = self._read.get(section)
            if known is None or not isinstance(table, dict):
                self.problems.append(f"[{section}] is not a section; sections: {', '.join(self._read)}")
                continue
            for key in table.keys() - known:
                self.problems.append(f"{section}.{key} is not a setting; settings: {', '.join(sorted(known))}")


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "a text that is not empty"


def _any_text(value: Any) -> str | None:
    return None if isinstance(value, str) else "a text"


def _whole(low: int, high: int) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        right = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if right else f"a whole number from {low} to {high}"

    return check


def _one_of(*choices: str) -> Callable[[Any], str | None]:
    return lambda value: None if value in choices else " or ".join(choices)


def _that(right: Callable[[str], bool], allowed: str) -> Callable[[Any], str | None]:
    return lambda value: None if isinstance(value, str) and right(value) else allowed


def _list_of(right: Callable[[str], bool], allowed: str, least: int = 0) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        fine = isinstance(value, list) and len(value) >= least and all(isinstance(v, str) and right(v) for v in value)
        return None if fine else f"a list of {allowed}" + (f", at least {least}" if least else "")

    return check


def _is_address(value: str) -> bool:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return True


def _is_prefix(longest: int = 32) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            prefix = ipaddress.IPv4Network(value)
        except ValueError:
            return False
        return str(prefix) == value and prefix.prefixlen <= longest

    return check


def _is_address_or_prefix(value: str) -> bool:
    return _is_address(value) or _is_prefix()(value)


def _is_interface(value: str) -> bool:
    try:
        interface = ipaddress.IPv4Interface(value)
    except ValueError:
        return False
    return "/" in value and interface.ip not in (interface.network.network_address, interface.network.broadcast_address)


def _is_endpoint(value: str) -> bool:
    if value.startswith("unix:"):
        return len(value) > len("unix:")
    host, _, port = value.rpartition(":")
    return bool(host) and port.isdigit() and int(port) < 65536


def _is_block_size(value: Any) -> str | None:
    right = isinstance(value, int) and 64 <= value <= MAX_BLOCK_SIZE and value & (value - 1) == 0
    return None if right else f"a power of two from 64 to {MAX_BLOCK_SIZE}"


def parse(text: str) -> Config:
    """A configuration from TOML `text`. Raises ConfigError naming every mistake."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"not TOML: {error}"]) from error
    reader = _Reader(document)
    take = reader.take
    endpoint = "HOST:PORT or unix:PATH"

    def listen(value: Any) -> str | None:
        values = value if isinstance(value, list) else [value]
        right = bool(values) and all(isinstance(v, str) and _is_endpoint(v) for v in values)
        return None if right else f"{endpoint}, or a list of them"

    at = take("api", "listen", list(ApiSettings().listen), listen)
    api = ApiSettings(
        listen=tuple(at) if isinstance(at, list) else (at,),
        metrics=take(
            "api",
            "metrics",
            ApiSettings().metrics,
            _that(lambda v: not v or (_is_endpoint(v) and not v.startswith("unix:")), "HOST:PORT, or empty for none"),
        ),
    )
    port_name = _that(is_port_name, "1 to 15 of A-Z, a-z, 0-9, '_', '.' and '-'")
    bridge = BridgeSettings(
        name=take("bridge", "name", BridgeSettings().name, port_name),
        ovsdb=take("bridge", "ovsdb", BridgeSettings().ovsdb, _text),
        controller=take("bridge", "controller", BridgeSettings().controller, _text),
        datapath_type=take("bridge", "datapath_type", BridgeSettings().datapath_type, _one_of(*DATAPATH_TYPES)),
    )
    address = _that(_is_address, "an IPv4 address")
    mac = _that(lambda v: is_mac(v) and v == v.lower(), "a unicast MAC address in lower case, 02:00:00:00:ff:02")
    gateway = {
        "port": take("gateway", "port", None, port_name),
        "address": take("gateway", "address", None, _that(_is_interface, "ADDRESS/LENGTH of a host, 203.0.113.2/24")),
        "next_hop": take("gateway", "next_hop", None, address),
        "mac": take("gateway", "mac", DEFAULTS.gateway.mac, mac),
        "mtu": take("gateway", "mtu", DEFAULTS.gateway.mtu, _whole(576, 9000)),
    }
    prefixes = "IPv4 prefixes without host bits"
    pools = {
        "nat_pool": take("pools", "nat", None, _list_of(_is_address_or_prefix, "IPv4 addresses and prefixes", 1)),
        "isolated_pool": take(
            "pools", "isolated", list(DEFAULTS.isolated_pool), _list_of(_is_prefix(30), f"{prefixes} (/30)", 1)
        ),
        "private_pool": take(
            "pools", "private", list(DEFAULTS.private_pool), _list_of(_is_prefix(16), f"{prefixes} (/16)", 1)
        ),
        "transit_pool": take(
            "pools", "transit", list(DEFAULTS.transit_pool), _list_of(_is_prefix(16), f"{prefixes} (/16)", 1)
        ),
        "protected": take("protected", "prefixes", [], _list_of(_is_prefix(), prefixes)),
        "dns_servers": take("dhcp", "dns_servers", [], _list_of(_is_address, "IPv4 addresses")),
    }
    settings = {
        "block_size": take("pools", "block_size", DEFAULTS.block_size, _is_block_size),
        "router_mac": take("dhcp", "router_mac", DEFAULTS.router_mac, mac),
        "domain": take("dhcp", "domain", DEFAULTS.domain, _that(_is_domain, "a domain name in lower case")),
        "lease_seconds": take("dhcp", "lease_seconds", DEFAULTS.lease_seconds, _whole(60, 86400 * 7)),
        "dhcp_rate": take("limits", "dhcp_rate", DEFAULTS.dhcp_rate, _whole(1, 10000)),
        "icmp_error_rate": take("limits", "icmp_error_rate", DEFAULTS.icmp_error_rate, _whole(1, 10000)),
    }
    limits = Limits(
        watches=take("limits", "watches", Limits().watches, _whole(1, 1024)),
        waiting_calls=take("limits", "waiting_calls", Limits().waiting_calls, _whole(1, 1024)),
    )
    others = {
        "database": take("database", "path", "/run/sluice/database.sock", _text),
        "reuse_after_seconds": take("pools", "reuse_after_seconds", 300, _whole(0, 86400 * 30)),
        "history_days": take("pools", "history_days", 30, _whole(0, 3650)),
        "log_level": take("log", "level", "info", _one_of("debug", "info", "warning", "error")),
    }
    reader.unknown()
    if not reader.problems:
        reader.problems += _overlaps(gateway, pools)
    if reader.problems:
        raise ConfigError(reader.problems)
    prefixes_of: dict[str, Any] = {name: tuple(values) for name, values in pools.items()}
    appliance = Appliance(gateway=Gateway(**gateway), **prefixes_of, **settings)
    return Config(appliance=appliance, api=api, bridge=bridge, limits=limits, **others)


def _is_domain(value: str) -> bool:
    return len(value) <= 253 and all(is_label(label) for label in value.split("."))


def _overlaps(gateway: Mapping[str, Any], pools: Mapping[str, list[str]]) -> Iterator[str]:
    """What is wrong between settings that are each right by themselves."""
    named = [(pool, prefix) for pool in ("nat", "isolated", "transit", "private") for prefix in pools[f"{pool}_pool"]]
    for at, (pool, prefix) in enumerate(named):
        one = ipaddress.IPv4Network(prefix)
        for other_pool, other in named[:at]:
            # A private network may have a prefix of the isolated pool: its machines have transit addresses.
            if {pool, other_pool} != {"isolated", "private"} and one.overlaps(ipaddress.IPv4Network(other)):
                yield f"pools.{pool} {prefix} overlaps pools.{other_pool} {other}"
        for never in NEVER_ROUTED if pool != "transit" else ():
            if one.overlaps(ipaddress.IPv4Network(never)):
                yield f"pools.{pool} {prefix} overlaps {never}, which is never routed"
    subnet = ipaddress.IPv4Interface(gateway["address"]).network
    hop = ipaddress.IPv4Address(gateway["next_hop"])
    if hop not in subnet:
        yield f"gateway.next_hop is {hop}; allowed: another address of {subnet}"
    elif hop == ipaddress.IPv4Interface(gateway["address"]).ip:
        yield f"gateway.next_hop is {hop}, the gateway's own address; allowed: another address of {subnet}"
    if any(hop in ipaddress.IPv4Network(prefix) and "/" not in prefix for prefix in pools["nat_pool"]):
        yield f"pools.nat holds {hop}, the next hop"
