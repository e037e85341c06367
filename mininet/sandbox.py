"""A sandbox: one appliance, the machines around it, and calls of its API, in a private world.

Packet tests and `datacenter.py` are written with this.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
from appliance import Appliance, RunningAppliance
from google.protobuf.field_mask_pb2 import FieldMask
from machines import INTERNET_ADDRESS, MANAGEMENT, SERVERS, TRUNK, TUNNEL, Internet, Lease, Machine, Site, StorageHost
from name_server import NameServer
from responders import Responders
from settings import UPSTREAM, Settings

from controller import explain
from sluice.v1 import (
    appliance_pb2_grpc,
    drive_pb2,
    drive_pb2_grpc,
    interconnect_pb2,
    interconnect_pb2_grpc,
    limits_pb2,
    machine_pb2,
    machine_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    public_address_pb2,
    public_address_pb2_grpc,
    status_pb2,
    translation_pb2_grpc,
    usage_pb2,
    usage_pb2_grpc,
    vpn_connection_pb2,
    vpn_connection_pb2_grpc,
    vpn_gateway_pb2,
    vpn_gateway_pb2_grpc,
)

CALL_SECONDS = 30.0
MACHINES_FILE = "machines.json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A machine to make: alone (`network` empty) or in a network, on its own port, a VLAN of the trunk or a VNI.

    `public` names a public address that stands for no machine yet.
    """

    name: str
    network: str = ""
    tenant: str = ""
    vlan: int | None = None
    vni: int | None = None
    address: str = ""
    mac: str = ""
    hostname: str = ""
    public: str = ""


class Sandbox:
    """Starts empty: no networks, no machines, only the Internet.

    `state` is the directory of the database (default: with the world, in
    memory), `datapath` `netdev` or `system` (default: what the kernel has).
    `appliance` stands in place of the one that a sandbox starts of its own.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        state: Path | None = None,
        datapath: str | None = None,
        appliance: RunningAppliance | None = None,
    ) -> None:
        self.appliance = appliance or Appliance(settings, state, datapath)
        self.site = Site(self.appliance)
        self.responders = Responders()
        self.upstream: NameServer | None = None
        self._channel = grpc.insecure_channel(self.appliance.paths.api)
        self.daemons = appliance_pb2_grpc.ApplianceServiceStub(self._channel)
        self.networks = network_pb2_grpc.NetworkServiceStub(self._channel)
        self.machines = machine_pb2_grpc.MachineServiceStub(self._channel)
        self.public_addresses = public_address_pb2_grpc.PublicAddressServiceStub(self._channel)
        self.drives = drive_pb2_grpc.DriveServiceStub(self._channel)
        self.translations = translation_pb2_grpc.TranslationServiceStub(self._channel)
        self.usages = usage_pb2_grpc.UsageServiceStub(self._channel)
        self.vpn_gateways = vpn_gateway_pb2_grpc.VpnGatewayServiceStub(self._channel)
        self.vpn_connections = vpn_connection_pb2_grpc.VpnConnectionServiceStub(self._channel)
        self.interconnects = interconnect_pb2_grpc.InterconnectServiceStub(self._channel)

    @property
    def internet(self) -> Internet:
        """The host beyond the gateway, with echo servers on each of its addresses."""
        host: Internet = self.site.net.get("internet")
        return host

    def start(self) -> None:
        """Start the appliance and the Internet. Raises DaemonError."""
        self.upstream = NameServer(UPSTREAM)
        self.appliance.start()
        self.site.add_storage()
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
        self.publish()
        return host

    def add_storage_host(self, name: str, address: str, mac: str = "") -> StorageHost:
        """A host of the storage network with echo servers; take it away by `unplug`."""
        host = self.site.add_storage_host(name, address, mac or None)
        self.responders.add(name, host.pid)
        self.publish()
        return host

    def unplug(self, name: str) -> None:
        """Take a machine away from the appliance; the API still knows it."""
        self.responders.remove(name)
        self.site.remove_machine(name)
        self.publish()

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

    def update_network(
        self,
        name: str,
        *,
        limits: limits_pb2.Limits | None = None,
        search_domain: str = "",
        forwarding: Mapping[str, Sequence[str]] | None = None,
    ) -> network_pb2.Network:
        """Change what is given of a network, and wait until it is live. Raises grpc.RpcError, NotLive."""
        rules = [network_pb2.DnsForwarding(domain=d, servers=s) for d, s in (forwarding or {}).items()]
        network = network_pb2.Network(
            name=f"networks/{name}", limits=limits, search_domain=search_domain, dns_forwarding=rules
        )
        request = network_pb2.UpdateNetworkRequest(network=network, wait_live=True)
        changed = self.networks.UpdateNetwork(request, timeout=CALL_SECONDS)
        require_live(changed)
        return changed

    def limit_machine(self, name: str, *, public_kbps: int = 0, storage_kbps: int = 0) -> machine_pb2.Machine:
        """Set both limits of a machine (0: the appliance's), and wait. Raises grpc.RpcError, NotLive."""
        limits = limits_pb2.Limits(public_kbps=public_kbps, storage_kbps=storage_kbps)
        request = machine_pb2.UpdateMachineRequest(
            machine=machine_pb2.Machine(name=f"machines/{name}", limits=limits),
            update_mask=FieldMask(paths=["limits"]),
            wait_live=True,
        )
        changed = self.machines.UpdateMachine(request, timeout=CALL_SECONDS)
        require_live(changed)
        return changed

    def create_public_address(
        self, name: str, *, machine: str = "", address: str = ""
    ) -> public_address_pb2.PublicAddress:
        """A live public address, for a machine if one is named. Raises grpc.RpcError, NotLive."""
        wanted = public_address_pb2.PublicAddress(address=address, machine=machine and f"machines/{machine}")
        request = public_address_pb2.CreatePublicAddressRequest(
            public_address_id=name, public_address=wanted, wait_live=True
        )
        made = self.public_addresses.CreatePublicAddress(request, timeout=CALL_SECONDS)
        require_live(made)
        return made

    def assign(self, name: str, machine: str) -> public_address_pb2.PublicAddress:
        """Give a public address to a machine (empty: to none), and wait. Raises grpc.RpcError, NotLive."""
        changed = public_address_pb2.PublicAddress(
            name=f"publicAddresses/{name}", machine=machine and f"machines/{machine}"
        )
        request = public_address_pb2.UpdatePublicAddressRequest(
            public_address=changed, update_mask=FieldMask(paths=["machine"]), wait_live=True
        )
        now = self.public_addresses.UpdatePublicAddress(request, timeout=CALL_SECONDS)
        require_live(now)
        return now

    def unassign(self, name: str) -> public_address_pb2.PublicAddress:
        """Take a public address away from its machine; its flows may be there for a moment yet."""
        return self.assign(name, "")

    def delete_public_address(self, name: str) -> None:
        """Release a public address by the API. Raises grpc.RpcError."""
        request = public_address_pb2.DeletePublicAddressRequest(name=f"publicAddresses/{name}")
        self.public_addresses.DeletePublicAddress(request, timeout=CALL_SECONDS)

    def create_drive(self, name: str, network: str, address: str, *, live: bool = True) -> drive_pb2.Drive:
        """A drive of a network, once it is `live`. Raises grpc.RpcError, NotLive."""
        wanted = drive_pb2.Drive(network=f"networks/{network}", address=address)
        request = drive_pb2.CreateDriveRequest(drive_id=name, drive=wanted, wait_live=live)
        made = self.drives.CreateDrive(request, timeout=CALL_SECONDS)
        if live:
            require_live(made)
        return made

    def delete_drive(self, name: str) -> None:
        """Take a drive away from its network by the API. Raises grpc.RpcError."""
        self.drives.DeleteDrive(drive_pb2.DeleteDriveRequest(name=f"drives/{name}"), timeout=CALL_SECONDS)

    def network(self, name: str) -> network_pb2.Network:
        """A network as the API has it; of a machine made alone it has the machine's name. Raises grpc.RpcError."""
        return self.networks.GetNetwork(network_pb2.GetNetworkRequest(name=f"networks/{name}"), timeout=CALL_SECONDS)

    def machine(self, name: str) -> machine_pb2.Machine:
        """A machine as the API has it. Raises grpc.RpcError."""
        return self.machines.GetMachine(machine_pb2.GetMachineRequest(name=f"machines/{name}"), timeout=CALL_SECONDS)

    def public_address(self, name: str) -> public_address_pb2.PublicAddress:
        """A public address as the API has it. Raises grpc.RpcError."""
        request = public_address_pb2.GetPublicAddressRequest(name=f"publicAddresses/{name}")
        return self.public_addresses.GetPublicAddress(request, timeout=CALL_SECONDS)

    def usage(self, name: str) -> usage_pb2.Usage:
        """What `machines/NAME` or `networks/NAME` used so far. Raises grpc.RpcError."""
        return self.usages.GetUsage(usage_pb2.GetUsageRequest(name=name), timeout=CALL_SECONDS)

    def drops(self, key: int | None = None) -> dict[str, int]:
        """Packets dropped or refused by reason (`controller.pipeline.drop_reasons`), of one network key or of all."""
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

    def publish(self) -> None:
        """Tell `mininet/on.py` where the machines are."""
        pids = {host.name: host.pid for host in self.site.net.hosts}
        file = self.appliance.paths.run / MACHINES_FILE
        file.with_suffix(".new").write_text(json.dumps(pids))
        file.with_suffix(".new").replace(file)


class NotLive(Exception):
    """An object did not become live; the text is its status."""


Live = (
    network_pb2.Network
    | machine_pb2.Machine
    | public_address_pb2.PublicAddress
    | drive_pb2.Drive
    | vpn_gateway_pb2.VpnGateway
    | vpn_connection_pb2.VpnConnection
    | interconnect_pb2.Interconnect
)


def require_live(made: Live) -> None:
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
        public_address=wanted.public and f"publicAddresses/{wanted.public}",
    )
    return machine_pb2.CreateMachineRequest(machine_id=wanted.name, machine=machine)


def obtain_leases(hosts: Iterable[Machine]) -> list[Lease]:
    """Have machines get their addresses, several at a time. Raises NoLease."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(Machine.obtain_lease, hosts))
