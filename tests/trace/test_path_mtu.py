"""Packets too large for their way out are told so, in both directions.

A trace has no size: where a flow asks for it, both answers are followed.
"""

from __future__ import annotations

import examples
import pytest
from tracer import INTERNET, Out, Tracer, echo, ip, out_of, reply

from controller.pipeline.flow import CheckPacketLarger
from controller.pipeline.registry import Feature, MeterClass, Table, meter
from state.model import Machine, Network

ETHERNET = 14
MACHINES = [(network, machine) for network in examples.NETWORKS for machine in network.machines]
EACH = pytest.mark.parametrize(("network", "machine"), MACHINES, ids=lambda value: value.name)


@EACH
@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp"])
def test_out(tracer: Tracer, network: Network, machine: Machine, kind: str) -> None:
    verdict = tracer.trace(ip(machine, INTERNET, kind=kind))
    assert verdict.output == (Out("uplink"),)
    wider = network.mtu > examples.APPLIANCE.gateway.mtu
    assert verdict.controller == (
        ((Table.FRAGMENTATION, meter(MeterClass.NETWORK_ERRORS, network.key)),) if wider else ()
    )
    assert (Table.FRAGMENTATION in verdict.tables) == wider


@EACH
@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp"])
def test_in(tracer: Tracer, network: Network, machine: Machine, kind: str) -> None:
    verdict = tracer.trace(reply(machine, kind=kind))
    assert verdict.output == out_of(machine)
    narrower = network.mtu < examples.APPLIANCE.gateway.mtu
    assert verdict.controller == (
        ((Table.INBOUND_FRAGMENTATION, meter(MeterClass.NETWORK_ERRORS, network.key)),) if narrower else ()
    )
    assert (Table.INBOUND_FRAGMENTATION in verdict.tables) == narrower


@pytest.mark.parametrize("network", [examples.OFFICE, examples.SHOP], ids=lambda n: n.name)
def test_inside_the_network_nobody_asks(tracer: Tracer, network: Network) -> None:
    sender, receiver = network.machines[0], network.machines[-1]
    for mac in (examples.APPLIANCE.router_mac, receiver.mac):
        verdict = tracer.trace(echo(sender, receiver.address, mac))
        assert (verdict.controller, verdict.output) == ((), out_of(receiver))


@pytest.mark.parametrize(("key", "table", "mtu"), [(3, Table.INBOUND_MTU, 1400), (4, Table.PATH_MTU, 1500)])
def test_the_size_is_that_of_the_frame(tracer: Tracer, key: int, table: Table, mtu: int) -> None:
    sizes = [
        (flow.table, action.size)
        for one in tracer.compiled
        if one.key == key
        for flow in one.flows.values()
        for action in flow.actions
        if isinstance(action, CheckPacketLarger) and flow.feature is Feature.PATH_MTU
    ]
    assert sizes == [(table, mtu + ETHERNET)]
