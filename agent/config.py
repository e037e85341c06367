"""The agent's configuration: TOML text → frozen values, every mistake reported at once."""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agent.validation import NEVER_ROUTED, is_label, is_mac, is_port_name
from state.model import Appliance, Gateway, Storage
from state.public import public_addresses

DATABASE = "/run/sluice/database.sock"
REUSE_AFTER_SECONDS = 300
HISTORY_DAYS = 30
MAX_BLOCK_SIZE = 32768
# What a configuration need not say.
DEFAULTS = Appliance(Gateway("uplink", "192.0.2.2/24", "192.0.2.1"), ())
STORAGE = Storage("storage", "192.0.2.2/24")
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
    database: str = DATABASE
    api: ApiSettings = field(default_factory=ApiSettings)
    bridge: BridgeSettings = field(default_factory=BridgeSettings)
    limits: Limits = field(default_factory=Limits)
    reuse_after_seconds: int = REUSE_AFTER_SECONDS
    history_days: int = HISTORY_DAYS
    log_level: str = "info"


def load(path: str) -> Config:
    """Read the configuration file at `path`. Raises ConfigError."""
    try:
        return parse(Path(path).read_text())
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error


class _Take(Protocol):
    """Reads one setting."""

    def __call__(self, section: str, key: str, default: Any, check: Callable[[Any], str | None]) -> Any: ...


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


PORT_NAME_RULE = "1 to 15 of A-Z, a-z, 0-9, '_', '.' and '-'"
_PORT_NAME = _that(is_port_name, PORT_NAME_RULE)
_LOWER_MAC = _that(lambda v: is_mac(v) and v == v.lower(), "a unicast MAC address in lower case, 02:00:00:00:ff:02")


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
    gateway, pools, behaviour = _gateway(take), _pools(take), _behaviour(take)
    storage = _storage(take)
    api, bridge = _api(take), _bridge(take)
    limits = Limits(
        watches=take("limits", "watches", Limits().watches, _whole(1, 1024)),
        waiting_calls=take("limits", "waiting_calls", Limits().waiting_calls, _whole(1, 1024)),
    )
    others = {
        "database": take("database", "path", DATABASE, _text),
        "reuse_after_seconds": take("pools", "reuse_after_seconds", REUSE_AFTER_SECONDS, _whole(0, 86400 * 30)),
        "history_days": take("pools", "history_days", HISTORY_DAYS, _whole(0, 3650)),
        "log_level": take("log", "level", "info", _one_of("debug", "info", "warning", "error")),
    }
    reader.unknown()
    if reader.problems:
        raise ConfigError(reader.problems)
    appliance = Appliance(gateway=Gateway(**gateway), storage=storage, **pools, **behaviour)
    problems = [*_contradictions(appliance)]
    if problems:
        raise ConfigError(problems)
    return Config(appliance=appliance, api=api, bridge=bridge, limits=limits, **others)


def _api(take: _Take) -> ApiSettings:
    defaults = ApiSettings()

    def listen(value: Any) -> str | None:
        values = value if isinstance(value, list) else [value]
        right = bool(values) and all(isinstance(v, str) and _is_endpoint(v) for v in values)
        return None if right else "HOST:PORT or unix:PATH, or a list of them"

    at = take("api", "listen", list(defaults.listen), listen)
    metrics = _that(lambda v: not v or (_is_endpoint(v) and not v.startswith("unix:")), "HOST:PORT, or empty for none")
    return ApiSettings(
        listen=tuple(at) if isinstance(at, list) else (at,),
        metrics=take("api", "metrics", defaults.metrics, metrics),
    )


def _bridge(take: _Take) -> BridgeSettings:
    defaults = BridgeSettings()
    return BridgeSettings(
        name=take("bridge", "name", defaults.name, _PORT_NAME),
        ovsdb=take("bridge", "ovsdb", defaults.ovsdb, _text),
        controller=take("bridge", "controller", defaults.controller, _text),
        datapath_type=take("bridge", "datapath_type", defaults.datapath_type, _one_of(*DATAPATH_TYPES)),
    )


def _gateway(take: _Take) -> dict[str, Any]:
    return {
        "port": take("gateway", "port", None, _PORT_NAME),
        "address": take("gateway", "address", None, _that(_is_interface, "ADDRESS/LENGTH of a host, 203.0.113.2/24")),
        "next_hop": take("gateway", "next_hop", None, _that(_is_address, "an IPv4 address")),
        "mac": take("gateway", "mac", DEFAULTS.gateway.mac, _LOWER_MAC),
        "mtu": take("gateway", "mtu", DEFAULTS.gateway.mtu, _whole(576, 9000)),
    }


def _storage(take: _Take) -> Storage | None:
    """The storage network; None without a port."""
    port_name = _that(lambda v: not v or is_port_name(v), f"empty for none, or {PORT_NAME_RULE}")
    port = take("storage", "port", "", port_name)
    interface = _that(lambda v: (not v and not port) or _is_interface(v), "ADDRESS/LENGTH of a host, 10.250.0.2/24")
    values = {
        "address": take("storage", "address", "" if not port else None, interface),
        "mac": take("storage", "mac", STORAGE.mac, _LOWER_MAC),
        "mtu": take("storage", "mtu", STORAGE.mtu, _whole(576, 9000)),
        "clients": take("storage", "clients", STORAGE.clients, _that(_is_prefix(15), "a prefix of at most 15 bits")),
    }
    return Storage(port=port, **values) if port else None


def _pools(take: _Take) -> dict[str, Any]:
    """Addresses, each list as a tuple."""

    def prefixes(section: str, key: str, default: Sequence[str], longest: int, least: int = 1) -> tuple[str, ...]:
        allowed = f"IPv4 prefixes without host bits, of at most {longest} bits"
        return tuple(take(section, key, list(default), _list_of(_is_prefix(longest), allowed, least)))

    nat = _list_of(_is_address_or_prefix, "IPv4 addresses and prefixes", 1)
    return {
        "nat_pool": tuple(take("pools", "nat", None, nat) or ()),
        "isolated_pool": prefixes("pools", "isolated", DEFAULTS.isolated_pool, 30),
        "private_pool": prefixes("pools", "private", DEFAULTS.private_pool, 16),
        "transit_pool": prefixes("pools", "transit", DEFAULTS.transit_pool, 16),
        "public_pool": prefixes("pools", "public", DEFAULTS.public_pool, 32, 0),
        "protected": prefixes("protected", "prefixes", DEFAULTS.protected, 32, 0),
        "dns_servers": tuple(take("dhcp", "dns_servers", [], _list_of(_is_address, "IPv4 addresses"))),
        "dns_upstream": tuple(take("dns", "upstream", [], _list_of(_is_address, "IPv4 addresses"))),
    }


def _behaviour(take: _Take) -> dict[str, Any]:
    return {
        "block_size": take("pools", "block_size", DEFAULTS.block_size, _is_block_size),
        "router_mac": take("dhcp", "router_mac", DEFAULTS.router_mac, _LOWER_MAC),
        "domain": take("dhcp", "domain", DEFAULTS.domain, _that(_is_domain, "a domain name in lower case")),
        "lease_seconds": take("dhcp", "lease_seconds", DEFAULTS.lease_seconds, _whole(60, 86400 * 7)),
        "dhcp_rate": take("limits", "dhcp_rate", DEFAULTS.dhcp_rate, _whole(1, 10000)),
        "resolver_port": take(
            "dns",
            "port",
            DEFAULTS.resolver_port,
            _that(lambda v: not v or is_port_name(v), f"empty, or {PORT_NAME_RULE}"),
        ),
        "router_rate": take("limits", "router_rate", DEFAULTS.router_rate, _whole(1, 1_000_000)),
        "public_rate": take("limits", "public_kbps", DEFAULTS.public_rate, _whole(64, 100_000_000)),
        "storage_rate": take("limits", "storage_kbps", DEFAULTS.storage_rate, _whole(64, 100_000_000)),
        "icmp_error_rate": take("limits", "icmp_error_rate", DEFAULTS.icmp_error_rate, _whole(1, 10000)),
    }


def _is_domain(value: str) -> bool:
    return len(value) <= 253 and all(is_label(label) for label in value.split("."))


def _contradictions(appliance: Appliance) -> Iterator[str]:
    """What is wrong between settings that are each right by themselves."""
    yield from _overlaps(appliance)
    gateway = appliance.gateway
    subnet = ipaddress.IPv4Interface(gateway.address).network
    if ipaddress.IPv4Address(gateway.next_hop) not in subnet or gateway.next_hop == gateway.ip:
        yield f"gateway.next_hop is {gateway.next_hop}; allowed: another address of {subnet} than {gateway.ip}"
    if not public_addresses(appliance):
        yield f"pools.nat {', '.join(appliance.nat_pool)} has no address that the gateway's subnet does not need itself"


def _overlaps(appliance: Appliance) -> Iterator[str]:
    pools = {
        "nat": appliance.nat_pool,
        "isolated": appliance.isolated_pool,
        "transit": appliance.transit_pool,
        "private": appliance.private_pool,
    }
    named = [(pool, ipaddress.IPv4Network(prefix)) for pool, prefixes in pools.items() for prefix in prefixes]
    for at, (pool, prefix) in enumerate(named):
        for other_pool, other in named[:at]:
            # A private network may have a prefix of the isolated pool: its machines have transit addresses.
            if {pool, other_pool} != {"isolated", "private"} and prefix.overlaps(other):
                yield f"pools.{pool} {prefix} overlaps pools.{other_pool} {other}"
        for never in NEVER_ROUTED if pool != "transit" else ():
            if prefix.overlaps(ipaddress.IPv4Network(never)):
                yield f"pools.{pool} {prefix} overlaps {never}, which is never routed"
