"""Settings of the kernel: size of connection tracking, and netfilter on bridges.

rp_filter is not looked at: packets of bridge ports never reach the host's own
routing, and the network namespaces of VPN gateways, interconnects and resolver
set their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.config import ConntrackSettings
from agent.host import kernel
from agent.host.kernel import CONNTRACK_BUCKETS, CONNTRACK_MAX
from cli.doctor.finding import Finding, error, ok, warning
from state.datapath import SYSTEM

CHECK = "connection tracking"
BRIDGE_NETFILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_SET_UP = "systemctl restart sluice-host-setup"
# Longer chains than this make each lookup slow.
_LONGEST_CHAIN = 8
_NEARLY_FULL = 0.9


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """Numbers of the kernel; None: the module is not loaded, or this user may not read them."""

    max_entries: int | None
    buckets: int | None
    entries: int | None
    bridge_netfilter: int | None


def gather() -> KernelFacts:
    """Read them."""
    number = kernel.number
    return KernelFacts(number(CONNTRACK_MAX), number(CONNTRACK_BUCKETS), number(_COUNT), number(BRIDGE_NETFILTER))


def judge(facts: KernelFacts, wanted: ConntrackSettings, datapath_type: str) -> list[Finding]:
    """The userspace datapath has a connection tracking of its own, which the agent sizes."""
    found = _conntrack(facts, wanted) if datapath_type == SYSTEM else []
    if facts.bridge_netfilter == 1:
        what = "iptables sees the frames of Linux bridges (br_netfilter) and may drop what machines send over them"
        found.append(
            warning("bridge netfilter", what, "sysctl net.bridge.bridge-nf-call-iptables=0, where none needs it")
        )
    else:
        found.append(ok("bridge netfilter", "off"))
    return found


def _conntrack(facts: KernelFacts, wanted: ConntrackSettings) -> list[Finding]:
    if facts.max_entries is None:
        return [warning(CHECK, "its module is not loaded yet", _SET_UP)]
    found = []
    if facts.max_entries < wanted.max_entries:
        what = f"takes {facts.max_entries:,} connections, configured is {wanted.max_entries:,}: more are dropped"
        found.append(error(CHECK, what, _SET_UP))
    else:
        found.append(ok(CHECK, f"takes {facts.max_entries:,} connections"))
    if facts.buckets is not None and facts.buckets * _LONGEST_CHAIN < facts.max_entries:
        what = f"hash table of {facts.buckets:,} buckets for {facts.max_entries:,} connections: lookups are slow"
        found.append(warning(CHECK, what, _SET_UP))
    if facts.entries is not None and facts.entries > facts.max_entries * _NEARLY_FULL:
        what = f"{facts.entries:,} of {facts.max_entries:,} connections are in use"
        found.append(warning(CHECK, what, "raise [conntrack] max_entries, then: systemctl restart sluice-host-setup"))
    return found
