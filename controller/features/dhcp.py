"""DHCP: requests go to the controller under the machine's meter; no machine may serve it."""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import CONTROLLER, Flow, Meter, Output
from controller.pipeline.match import match
from controller.pipeline.registry import Feature, MeterClass, Priority, Table, meter
from state.model import Kind, Network

feature = Feature.DHCP
tables = frozenset({Table.PORT_SECURITY})


def shared(site: PipelineContext) -> Iterator[Flow]:
    """Nothing is shared."""
    yield from ()


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """One flow a machine; in a private network one that stops foreign servers, by whatever port they send."""
    key = network.key
    for machine in network.machines:
        yield flow(
            feature,
            Table.PORT_SECURITY,
            Priority.EXCEPTION,
            match("udp", metadata=key, eth_src=machine.mac, udp_src=68, udp_dst=67),
            (Meter(meter(MeterClass.MACHINE_DHCP, machine.number)), Output(CONTROLLER)),
            f"DHCP of {machine.name}",
            key,
        )
    if network.kind is Kind.PRIVATE:
        yield flow(feature, Table.PORT_SECURITY, Priority.EXCEPTION,
                   match("udp", metadata=key, udp_dst=68), (), "dhcp-server", key)  # fmt: skip
