"""A real controller process beside a throwaway switch, and a database to write desired state into."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import examples
from dummy_switch import DummySwitch, dummy_switch, wait_until

from controller.openflow.client import OpenFlowClient
from controller.reconcile.compile import PipelineContext, compile_network, compile_shared
from controller.reconcile.diff import installed
from state import interconnect_rows, rows, vpn_rows
from state.addresses import is_address
from state.interconnect import BgpSession, Interconnect, SessionState
from state.interconnect_rows import InterconnectStatus
from state.model import Appliance, Network, NetworkStatus, State
from state.ovsdb import Operation, OvsdbClient, RowChange, to_map
from state.vpn import VpnGateway

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A TCP port of loopback nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def insert_gateway(gateway: VpnGateway, network_reference: list[str]) -> list[Operation]:
    """Rows of a VPN gateway, its connections and the names of their peers."""
    own = f"gateway{gateway.number}"
    row = vpn_rows.gateway_row(gateway, network_reference)
    operations: list[Operation] = [{"op": "insert", "table": "Vpn_Gateway", "row": row, "uuid-name": own}]
    for one in gateway.connections:
        row = vpn_rows.connection_row(one, ["named-uuid", own])
        operations.append({"op": "insert", "table": "Vpn_Connection", "row": row})
        if one.peer and not is_address(one.peer):
            row = vpn_rows.peer_row(one.peer, one.peer_addresses)
            operations.append({"op": "insert", "table": "Vpn_Peer", "row": row})
    return operations


def insert_interconnect(one: Interconnect, network_reference: list[str] | None) -> list[Operation]:
    """Rows of an interconnect, and what the BGP daemon would say of it."""
    state = SessionState.ESTABLISHED if one.session.up else SessionState.DOWN
    told = InterconnectStatus(one.name, one.revision, State.LIVE, "", BgpSession(state, peer_mac=one.session.mac))
    found: list[tuple[str, dict[str, Any]]] = [
        ("Interconnect", interconnect_rows.interconnect_row(one, network_reference)),
        ("Interconnect_Status", interconnect_rows.status_row(told)),
    ]
    for part, text in interconnect_rows.parts(one.session.routes).items():
        found.append(("Interconnect_Routes", interconnect_rows.part_row(one.name, part, text)))
    return [{"op": "insert", "table": table, "row": row} for table, row in found]


class ControllerWorld:
    """One switch, one database, at most one controller."""

    def __init__(self, switch: DummySwitch) -> None:
        self.switch = switch
        self.statuses: dict[str, NetworkStatus] = {}
        self.neighbors: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.metrics_port = free_port()
        self.log = switch.directory / "controller.log"
        self.client = OvsdbClient(switch.database)
        self.client.monitor({t: rows.COLUMNS[t] for t in ("Network_Status", "Neighbor")}, self._changed)
        self.client.wait_connected(5)

    def _changed(self, changes: Sequence[RowChange], reset: bool) -> None:
        for change in changes:
            row = change.new or change.old
            assert row is not None
            if change.table == "Neighbor" and change.new is None:
                self.neighbors.pop(row["address"], None)
            elif change.table == "Neighbor":
                self.neighbors[row["address"]] = row["mac"]
            elif change.new is None:
                self.statuses.pop(row["network"], None)
            else:
                self.statuses[row["network"]] = rows.status(row)

    def start(self, *options: str) -> None:
        """Start the controller and wait until it has the switch."""
        self.log.write_bytes(b"")
        self.launch(*options)
        if "--listen" in options:
            # A switch that tries too early waits a second before it tries again.
            self.await_log("waiting for the switch")
            self.switch.connect_controller()
        self.await_log("flows of the switch read")

    def launch(self, *options: str) -> subprocess.Popen[bytes]:
        """Start the controller."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "controller.main", "--database", self.switch.database,
                 "--bridge", self.switch.bridge, "--ovs-rundir", str(self.switch.directory),
                 "--metrics-port", str(self.metrics_port), *options],
                cwd=ROOT, stderr=log,
            )  # fmt: skip
        return self.process

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the controller and return its exit status."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(10)

    def close(self) -> None:
        """Nothing is left behind."""
        self.stop(signal.SIGKILL)
        self.client.close()

    def logged(self) -> list[dict[str, Any]]:
        """The log's lines so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]

    def await_log(self, message: str, count: int = 1) -> None:
        """Wait until `message` was logged `count` times."""
        wait_until(lambda: self.log.read_text().count(f'"message": "{message}"') >= count, 15, f"log: {message}")

    def write(self, *operations: Operation) -> None:
        """Run one transaction."""
        self.client.transact(operations)

    def settings(self, appliance: Appliance = examples.APPLIANCE) -> Operation:
        """The settings' row."""
        return {
            "op": "insert",
            "table": "Appliance",
            "row": {"name": "test", "settings": to_map(appliance.to_settings())},
        }

    def insert(self, *networks: Network) -> list[Operation]:
        """Rows of networks, their machines, drives, VPN gateways and interconnects."""
        operations: list[Operation] = []
        for network in networks:
            own = f"network{network.key}"
            operations.append({"op": "insert", "table": "Network", "row": rows.network_row(network), "uuid-name": own})
            operations += [
                {"op": "insert", "table": "Machine", "row": rows.machine_row(machine, ["named-uuid", own], 0)}
                for machine in network.machines
            ]
            operations += [
                {
                    "op": "insert",
                    "table": "Additional_Address",
                    "row": rows.additional_address_row(address, ["named-uuid", own], 0),
                }
                for address in network.additional
            ]
            operations += [
                {"op": "insert", "table": "Drive", "row": rows.drive_row(drive, ["named-uuid", own], 0)}
                for drive in network.drives
            ]
            if network.vpn is not None:
                operations += insert_gateway(network.vpn, ["named-uuid", own])
            for one in network.interconnects:
                operations += insert_interconnect(one, ["named-uuid", own])
        return operations

    def remove(self, *networks: Network) -> list[Operation]:
        """Deletes the rows of networks and of all that is theirs."""
        gone = [("Machine", machine.name) for network in networks for machine in network.machines]
        gone += [("Drive", drive.name) for network in networks for drive in network.drives]
        vpns = [network.vpn for network in networks if network.vpn is not None]
        gone += [("Vpn_Connection", one.name) for vpn in vpns for one in vpn.connections]
        gone += [("Vpn_Gateway", vpn.name) for vpn in vpns]
        interconnects = [one.name for network in networks for one in network.interconnects]
        gone += [("Interconnect", name) for name in interconnects]
        gone += [("Network", network.name) for network in networks]
        told: list[Operation] = [
            {"op": "delete", "table": table, "where": [["interconnect", "==", name]]}
            for table in ("Interconnect_Status", "Interconnect_Routes")
            for name in interconnects
        ]
        told += [
            {"op": "delete", "table": "Additional_Address", "where": [["number", "==", one.number]]}
            for network in networks
            for one in network.additional
        ]
        return [*told, *({"op": "delete", "table": table, "where": [["name", "==", name]]} for table, name in gone)]

    def await_live(self, *networks: Network) -> None:
        """Wait until all of `networks` are live at their revision."""

        def all_live() -> bool:
            found = [self.statuses.get(network.name) for network in networks]
            return all(
                status is not None and status.state is State.LIVE and status.revision >= network.revision
                for status, network in zip(found, networks, strict=True)
            )

        wait_until(all_live, 15, "networks live")

    def desired(self, *networks: Network) -> set[tuple[int, int]]:
        """Table and cookie of all flows of the appliance and `networks`."""
        with OpenFlowClient(self.switch.mgmt) as bridge:
            site = PipelineContext(examples.APPLIANCE, bridge.ports(), dict(self.neighbors))
        found = set(installed(compile_shared(site)).flows)
        for network in networks:
            found |= installed(compile_network(network, site)).flows.keys()
        return found

    def flow_ids(self) -> set[tuple[int, int]]:
        """Table and cookie of all flows on the switch."""
        with OpenFlowClient(self.switch.mgmt) as bridge:
            return bridge.flow_ids()

    def metric(self, name: str) -> float | None:
        """A sample of the controller's metrics, with its labels in `name`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
        return float(found[1]) if found else None


@contextmanager
def controller_world(ports: Sequence[str] = tuple(examples.SITE.ports)) -> Iterator[ControllerWorld]:
    """A switch with these ports and a database with the example appliance's settings."""
    environment = {key: value for key, value in os.environ.items() if key.startswith("SLUICE_")}
    assert not environment, f"these would change the controller under test: {environment}"
    with dummy_switch() as switch:
        for name in ports:
            switch.add_port(name, examples.SITE.ports[name])
        world = ControllerWorld(switch)
        try:
            world.write(world.settings())
            yield world
        finally:
            world.close()
