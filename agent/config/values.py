"""The configuration as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from state import resolver, vpn
from state.interconnect import INTERCONNECT_MAC
from state.model import Appliance
from state.ovsdb import SOCKET

REUSE_AFTER_SECONDS = 300
HISTORY_DAYS = 30
VPN_KEY = "/var/lib/sluice/vpn.key"
BGP_AS = 64512
# Connections at once. The kernel's own default, 65,536 with 1 GB of memory or more, is full with 16 port blocks of
# 4,096; this is 256 of them. A kernel entry takes about half a kilobyte, so a full table about 0.5 GB.
MAX_ENTRIES = 1 << 20
# Seconds. Answered traffic gets what RFC 5382 section 5 (TCP, 2 h 4 min) and RFC 4787 section 4.3
# (UDP, 2 min) ask of a NAT. The rest is shorter: each entry holds a port of the network's block, and
# Open vSwitch 3.1 gives that back only up to 20 s after the timeout. Three are below the RFCs to free ports
# sooner: tcp_fin_wait (RFC 5382: 4 min), icmp_* (RFC 5508 section 3.2: 60 s), udp_first and udp_single.
TIMEOUTS: Mapping[str, int] = {
    "tcp_syn_sent": 20,
    "tcp_syn_recv": 20,
    "tcp_established": 7440,
    "tcp_fin_wait": 60,
    "tcp_close_wait": 60,
    "tcp_last_ack": 30,
    "tcp_time_wait": 5,
    "tcp_close": 2,
    "udp_first": 15,
    "udp_single": 15,
    "udp_multiple": 120,
    "icmp_first": 10,
    "icmp_reply": 10,
}
# The kernel makes its table of whole pages of 8-byte heads (nf_ct_alloc_hashtable).
_BUCKETS_A_PAGE = 512


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
class ConntrackSettings:
    """Connection tracking: how many connections at once, and timeouts in seconds by state (ovs-vswitchd.conf.db(5))."""

    max_entries: int = MAX_ENTRIES
    timeouts: Mapping[str, int] = field(default_factory=lambda: TIMEOUTS)

    @property
    def buckets(self) -> int:
        """Size of the kernel's hash table: one bucket for each entry, as the kernel's own default is since 5.15."""
        return -(-self.max_entries // _BUCKETS_A_PAGE) * _BUCKETS_A_PAGE


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
    database: str = SOCKET
    api: ApiSettings = field(default_factory=ApiSettings)
    bridge: BridgeSettings = field(default_factory=BridgeSettings)
    conntrack: ConntrackSettings = field(default_factory=ConntrackSettings)
    limits: Limits = field(default_factory=Limits)
    reuse_after_seconds: int = REUSE_AFTER_SECONDS
    history_days: int = HISTORY_DAYS
    vpn_key: str = VPN_KEY
    bgp_as: int = BGP_AS
    log_level: str = "info"


def own_macs(appliance: Appliance) -> frozenset[str]:
    """The Ethernet addresses that the appliance speaks with itself, which no machine may have."""
    daemons = {resolver.MAC, vpn.INSIDE_MAC, vpn.OUTSIDE_MAC, INTERCONNECT_MAC}
    storage = set() if appliance.storage is None else {appliance.storage.mac}
    return frozenset(mac.lower() for mac in daemons | storage | {appliance.router_mac, appliance.gateway.mac})
