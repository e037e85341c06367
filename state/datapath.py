"""Limitations of a switch's datapath, from the capabilities that Open vSwitch reports.

Keys are those of column `capabilities` of table `Datapath`, ovs-vswitchd.conf.db(5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

SYSTEM, NETDEV = "system", "netdev"


@dataclass(frozen=True, slots=True)
class Limitation:
    """A capability that is missing, what follows from that, and whether Sluice works at all without it."""

    capability: str
    meaning: str
    essential: bool = False


# What flows of the pipeline use of a datapath.
NEEDED = (
    Limitation("recirc", "nothing is translated: no packet goes on after connection tracking", essential=True),
    Limitation("ct_state", "nothing is translated: connection tracking is missing", essential=True),
    Limitation("ct_zone", "nothing is translated: connection tracking has no zones", essential=True),
    Limitation("ct_state_nat", "nothing is translated: connection tracking has no NAT", essential=True),
    Limitation("ct_mark", "ICMP errors about translated connections are dropped"),
    Limitation("ct_timeout", "connections are forgotten after the datapath's own timeouts, not those of [conntrack]"),
    Limitation("ct_clear", "fragments to and from public addresses may be dropped"),
    Limitation("check_pkt_len", "ovs-vswitchd itself looks at packets that may exceed an MTU, which is slow"),
    Limitation("masked_set_action", "ovs-vswitchd makes more flows in the datapath, which is slow"),
)


def missing(capabilities: Mapping[str, str]) -> tuple[Limitation, ...]:
    """The needed capabilities that the datapath reports not to have; none while it reports nothing."""
    return tuple(one for one in NEEDED if capabilities.get(one.capability) == "false")


def version_of(text: str) -> tuple[int, int] | None:
    """Major and minor number in a version of Open vSwitch, `3.1.0`; None when there is none."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]))


def remarks(datapath_type: str, version: str) -> tuple[str, ...]:
    """What is known of a type of datapath and a version, one sentence each."""
    if datapath_type == SYSTEM:
        # The packet ends inside the ct() action, where no flow sees it.
        return ("connections beyond a port block are counted for all networks together (sluice_conntrack_total)",)
    if datapath_type != NETDEV:
        return ()
    found = ["translated connections are reset when ovs-vswitchd restarts"]
    if (version_of(version) or (3, 3)) < (3, 3):
        found.append("conntrack of Open vSwitch before 3.3 can abort ovs-vswitchd")
    return tuple(found)
