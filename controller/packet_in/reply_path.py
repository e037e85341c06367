"""Reply paths: to a machine, or through the pipeline."""

from __future__ import annotations

from controller.features.switch import to_machine
from controller.packet_in.handler import HandlerView
from controller.pipeline.flow import Action, Resubmit, SetField
from controller.pipeline.match import Field
from controller.pipeline.registry import Table
from state.model import Machine, Network


def machine_of_mac(network: Network, mac: str) -> Machine | None:
    """The machine of `network` that has `mac`."""
    return next((machine for machine in network.machines if machine.mac == mac), None)


def deliver(machine: Machine, view: HandlerView) -> tuple[Action, ...] | None:
    """Actions that bring a frame to `machine`, None while its port is missing."""
    ports = view.site.ports
    return to_machine(machine, ports) if machine.attachment.port in ports else None


def inject(key: int, table: Table) -> tuple[Action, ...]:
    """Actions that put a packet of network `key` into `table`."""
    return (SetField(Field.METADATA, key), Resubmit(table))
