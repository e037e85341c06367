"""A sandbox: one appliance, the machines around it, and calls of its API, in a private world.

Packet tests and `datacenter.py` are written with this.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
from appliance import Appliance
from machines import INTERNET_ADDRESS, MANAGEMENT, SERVERS, TRUNK, TUNNEL, Internet, Lease, Machine, Site
from name_server import NameServer
from responders import Responders
from settings import UPSTREAM, Settings

from controller import explain
from sluice.v1 import (
    machine_pb2,
    machine_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    status_pb2,
    translation_pb2_grpc,
)

CALL_SECONDS = 30.0
MACHINES_FILE = "machines.json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A machine to make: alone (`network` empty) or in a network, on its own port, a VLAN of the trunk or a VNI."""

    name: str
    network: str = ""
    tenant: str = ""
    vlan: int | None = None
    vni: int | None = None
    address: str = ""
    mac: str = ""
    hostname: str = ""


class Sandbox:
    """Starts empty: no networks, no machines, only the Internet.

    `state` is the directory of the database (default: with the world, in
    memory), `datapath` `netdev` or `system` (default: what the kernel has).
    """

    def __init__(
        self, settings: Settings | None = None, state: Path | None = None, datapath: str | None = None
    ) -> None:
        self.appliance = Appliance(settings, state, datapath)
        self.site = Site(self.appliance)
        self.responders = Responders()
        self.upstream: NameServer | None = None
        self._channel = grpc.insecure_channel(self.appliance.paths.api)
        self.networks = network_pb2_grpc.NetworkServiceStub(self._channel)
        self.machines = machine_pb2_grpc.MachineServiceStub(self._channel)
        self.translations = translation_pb2_grpc.TranslationServiceStub(self._channel)

    @property
    def internet(self) -> Internet:
        """The host beyond the gateway, with echo servers on each of its addresses."""
        host: Internet = self.site.net.get("internet")
        return host

    def start(self) -> None:
        """Start the appliance and the Internet. Raises DaemonError."""
        self.upstream = NameServer(UPSTREAM)
        self.appliance.start()
        internet = self.site.add_internet()
        self.responders.add("internet", internet.pid, (*SERVERS, MANAGEMENT, INTERNET_ADDRESS.split("/")[0]))

    def stop(self) -> None:
        """End machines first, then the appliance."""
        self._channel.close()
        self.responders.stop()
        self.site.stop()
        self.appliance.stop()
        if self.upstream is not None:
            self.upstream.close()

    def plug(self, wanted: Wanted) -> Machine:
        """Bring a machine's interface to the appliance; the API knows nothing of it yet."""
        host = self.site.add_machine(wanted.name, mac=wanted.mac or None, vlan=wanted.vlan, vni=wanted.vni)
        self.responders.add(wanted.name, host.pid)
        self._publish()
        return host

    def unplug(self, name: str) -> None:
        """Take a machine away from the appliance; the API still knows it."""
        self.responders.remove(name)
        self.site.remove_machine(name)
        self._publish()

    def create_network(
        self, name: str, *, tenant: str = "", prefix: str = "", mtu: int = 0, dns_servers: Sequence[str] = ()
    ) -> network_pb2.Network:
        """A live private network. Raises grpc.RpcError, NotLive."""
        network = network_pb2.Network(
            kind=network_pb2.Network.PRIVATE, tenant=tenant, prefix=prefix, mtu=mtu, dns_servers=dns_servers
        )
        request = network_pb2.CreateNetworkRequest(network_id=name, network=network, wait_live=True)
        made = self.networks.CreateNetwork(request, timeout=CALL_SECONDS)
        require_live(made)
        return made

    def create_machines(self, wanted: Sequence[Wanted], *, lease: bool = True, live: bool = True) -> list[Machine]:
        """Plug machines in, make them in one batch, wait until they are `live` and have a `lease`.

        Raises grpc.RpcError, NotLive, NoLease.
        """
        hosts = [self.plug(one) for one in wanted]
        request = machine_pb2.BatchCreateMachinesRequest(
            requests=[creation(one, host) for one, host in zip(wanted, hosts, strict=True)], wait_live=live
        )
        for made in self.machines.BatchCreateMachines(request, timeout=CALL_SECONDS).machines:
            if live:
                require_live(made)
        if lease:
            obtain_leases(hosts)
        return hosts

    def create_machine(self, wanted: Wanted, *, lease: bool = True) -> Machine:
        """One machine, as in `create_machines`."""
        return self.create_machines([wanted], lease=lease)[0]

    def delete_machine(self, name: str) -> None:
        """Delete a machine by the API and take it away. Raises grpc.RpcError."""
        self.machines.DeleteMachine(machine_pb2.DeleteMachineRequest(name=f"machines/{name}"), timeout=CALL_SECONDS)
        self.unplug(name)

    def delete_network(self, name: str) -> None:
        """Delete a network by the API. Raises grpc.RpcError."""
        self.networks.DeleteNetwork(network_pb2.DeleteNetworkRequest(name=f"networks/{name}"), timeout=CALL_SECONDS)

    def network(self, name: str) -> network_pb2.Network:
        """A network as the API has it; of a machine made alone it has the machine's name. Raises grpc.RpcError."""
        return self.networks.GetNetwork(network_pb2.GetNetworkRequest(name=f"networks/{name}"), timeout=CALL_SECONDS)

    def machine(self, name: str) -> machine_pb2.Machine:
        """A machine as the API has it. Raises grpc.RpcError."""
        return self.machines.GetMachine(machine_pb2.GetMachineRequest(name=f"machines/{name}"), timeout=CALL_SECONDS)

    def drops(self, key: int | None = None) -> dict[str, int]:
        """Packets dropped or refused so far by reason (`controller.reasons`), of one network key or of all."""
        counts: dict[str, int] = {}
        for drop in self.all_drops():
            if key is None or drop.key == key:
                counts[drop.reason.word] = counts.get(drop.reason.word, 0) + drop.packets
        return counts

    def all_drops(self) -> tuple[explain.Drop, ...]:
        """What was dropped, or refused with an ICMP error, so far: by network, table and reason."""
        ofctl = self.appliance.ofctl
        records, meters = explain.parse_dump(ofctl("dump-flows")), explain.parse_meters(ofctl("meter-stats"))
        return explain.drops(records, meters, refused=True)

    def _publish(self) -> None:
        """Tell `mininet/on.py` where the machines are."""
        pids = {host.name: host.pid for host in self.site.net.hosts}
        file = self.appliance.paths.run / MACHINES_FILE
        file.with_suffix(".new").write_text(json.dumps(pids))
        file.with_suffix(".new").replace(file)


class NotLive(Exception):
    """An object did not become live; the text is its status."""


def require_live(made: machine_pb2.Machine | network_pb2.Network) -> None:
    """Raise NotLive unless the object's status is LIVE."""
    if made.status.state != status_pb2.Status.LIVE:
        state = status_pb2.Status.State.Name(made.status.state)
        raise NotLive(f"{made.name} is {state}: {made.status.detail or 'no detail'}")


def creation(wanted: Wanted, host: Machine) -> machine_pb2.CreateMachineRequest:
    """The request that makes `wanted` with the MAC of `host`."""
    if wanted.vni is not None:
        attachment = machine_pb2.Attachment(port=TUNNEL, vni=wanted.vni)
    elif wanted.vlan is not None:
        attachment = machine_pb2.Attachment(port=TRUNK, vlan=wanted.vlan)
    else:
        attachment = machine_pb2.Attachment(port=wanted.name)
    machine = machine_pb2.Machine(
        network=f"networks/{wanted.network}" if wanted.network else "",
        mac_address=host.mac,
        address=wanted.address,
        hostname=wanted.hostname,
        attachment=attachment,
        tenant=wanted.tenant,
    )
    return machine_pb2.CreateMachineRequest(machine_id=wanted.name, machine=machine)


def obtain_leases(hosts: Iterable[Machine]) -> list[Lease]:
    """Have machines get their addresses, several at a time. Raises NoLease."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(Machine.obtain_lease, hosts))
