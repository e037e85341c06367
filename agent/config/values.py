"""What the agent is told, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field

from state.model import Appliance

DATABASE = "/run/sluice/database.sock"
REUSE_AFTER_SECONDS = 300
HISTORY_DAYS = 30
VPN_KEY = "/var/lib/sluice/vpn.key"
BGP_AS = 64512


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
    """Everything the agent is told. Times are in seconds or days, as named.

    `vpn_key` is the path of the key that secrets of VPN connections and
    passwords of interconnects are sealed with, `bgp_as` the AS number of the
    appliance where an interconnect gives it no other.
    """

    appliance: Appliance
    database: str = DATABASE
    api: ApiSettings = field(default_factory=ApiSettings)
    bridge: BridgeSettings = field(default_factory=BridgeSettings)
    limits: Limits = field(default_factory=Limits)
    reuse_after_seconds: int = REUSE_AFTER_SECONDS
    history_days: int = HISTORY_DAYS
    vpn_key: str = VPN_KEY
    bgp_as: int = BGP_AS
    log_level: str = "info"


def own_ports(appliance: Appliance) -> tuple[str, ...]:
    """The ports of the bridge that are the appliance's own: gateway, storage and resolver, those there are."""
    storage = "" if appliance.storage is None else appliance.storage.port
    return tuple(port for port in (appliance.gateway.port, storage, appliance.resolver_port) if port)
