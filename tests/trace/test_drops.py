"""What a machine sends and nobody gets counts for its network, whatever it is."""

from __future__ import annotations

import itertools

import examples
import pytest
from tracer import BROADCAST, GATEWAY_MAC, INTERNET, KNOWN, NEW, ROUTER_MAC, Tracer, arp, arrival, ip

from state.model import Machine, Network

MACHINES = [(network, machine) for network in examples.ALL_NETWORKS for machine in network.machines]
EACH = pytest.mark.parametrize(("network", "machine"), MACHINES, ids=lambda value: value.name)
MACS = (ROUTER_MAC, GATEWAY_MAC, BROADCAST, "02:00:00:99:99:99")
ADDRESSES = (INTERNET, "10.0.0.1", "10.0.0.3", "10.0.0.200", "172.16.0.5", "203.0.113.2", "203.0.113.64", "10.250.0.10",
             "203.0.113.140", "10.250.0.13", "192.168.50.1", "10.77.0.1", "224.0.0.251", "255.255.255.255")  # fmt: skip
KINDS = (("udp", ""), ("ip,nw_proto=6", "nw_frag=first"), ("udp", "nw_frag=later"), ("ip,nw_proto=47", ""),
         ("icmp", "icmp_type=5"), ("udp", "udp_src=67,udp_dst=68"))  # fmt: skip
# What goes to a public address of ours comes back in as from outside.
OF_THE_APPLIANCE = {"not-for-us", "unsolicited"}


@EACH
def test_a_packet_that_is_dropped(tracer: Tracer, network: Network, machine: Machine) -> None:
    # At exhaustion conntrack hands a packet back as it was.
    for mac, address, (kind, more), said in itertools.product(MACS, ADDRESSES, KINDS, (KNOWN, NEW)):
        verdict = tracer.trace(ip(machine, address, mac, kind=kind, more=more), said, said)
        assert verdict.dropped is None or verdict.dropped_by == network.key or verdict.dropped in OF_THE_APPLIANCE, (
            mac, address, kind, more, verdict.dropped
        )  # fmt: skip


@EACH
def test_a_question_nobody_answers(tracer: Tracer, network: Network, machine: Machine) -> None:
    for target, operation in itertools.product(ADDRESSES, (1, 2, 3, 8)):
        verdict = tracer.trace(arp(machine, target, operation=operation))
        assert verdict.dropped is None or verdict.dropped_by == network.key
    verdict = tracer.trace(f"{arrival(machine)},dl_dst={BROADCAST},dl_type=0x86dd")
    assert (verdict.dropped, verdict.dropped_by) == ("protocol", network.key)
