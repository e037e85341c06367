"""Two tenants with the same prefix, joined by interconnects to customers' sites with the same prefix and links too.

The first has two interconnects on two ports, and a VPN to the same site; the
second one. Besides there is a peering.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from corporate import Peering
from crossconnect import CrossConnect
from customer import Connection, CustomerRouter, PeeringNetwork
from frames import carries, new_mark, routed
from interconnect import Interconnects
from machines import Machine, StorageHost
from packets import Wire
from probes import ask_udp
from sandbox import Sandbox, Wanted
from sandboxes import Tenants, network_id
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from supervisor import await_condition
from vpn_gateway import Vpn

from sluice.v1 import status_pb2
from state.interconnect import INTERCONNECT_MAC

PREFIX, SITE_PREFIX, PEER_PREFIX = "10.9.0.0/16", "192.168.50.0/24", "45.80.0.0/24"
# Routes within it are accepted; the site is a part of it.
ACCEPT = "192.168.0.0/17"
PASSWORD, SECRET = "an-MD5-password-for-tests", "a pre-shared key for tests, long enough"
DRIVES = {"files": "10.250.0.10", "till": "10.250.0.11"}
CUSTOMER_AS, PEER_AS = 65001, 65100
# Both tenants' first links have the same addresses.
LINK, SECOND_LINK, PEER_LINK = "169.254.101.0/30", "169.254.102.0/30", "169.254.103.0/30"
# What is never on the cable to the Internet (pcap-filter(7)).
INNER = f"ip and (net {PREFIX} or net {ACCEPT} or net 10.250.0.0/24 or net 100.64.0.0/10)"
# After a session was lost several times FRR waits some seconds before it opens the next.
REACHED_SECONDS = 30.0


@dataclass(frozen=True)
class Tenancy:
    """A network with two machines, a drive, and interconnects by name to the site of `customer`."""

    network: str
    key: int
    machines: list[Machine]
    drive: StorageHost
    customer: CustomerRouter
    links: dict[str, Connection]

    @property
    def machine(self) -> Machine:
        return self.machines[0]

    @property
    def pc(self) -> Machine:
        return self.customer.pc

    @property
    def pc_address(self) -> str:
        return self.customer.site.pc_address

    @property
    def router(self) -> Machine:
        return self.customer.router


# A rate that limits nothing here.
WIDE_KBPS = 100_000_000
SMALL_MTU = 1400
"""What packets of the second tenant's network may be at most, in bytes; those of links are 1500."""


@dataclass(frozen=True)
class World:
    """Both, a machine alone, and a network that peers."""

    one: Tenancy
    two: Tenancy
    alone: Machine
    peer: PeeringNetwork
    peer_link: Connection
    interconnects: Interconnects
    vpn: Vpn
    ports: dict[str, CrossConnect]
    made: dict[str, dict[str, Any]]

    @property
    def both(self) -> tuple[Tenancy, Tenancy]:
        return self.one, self.two

    @property
    def names(self) -> tuple[str, ...]:
        """Every interconnect."""
        return tuple(self.made)

    def renew(self, *names: str) -> None:
        """Make interconnects anew: what was held against their peers is forgotten. Raises grpc.RpcError, NotLive."""
        for name in names:
            self.interconnects.delete(name)
        for name in names:
            self.interconnects.create(name, **self.made[name])

    def pardon(self, *names: str) -> None:
        """Have lost sessions forgotten, as any change does, before five within a minute are too many."""
        for name in names:
            before = self.interconnects.get(name).rate_kbps
            self.interconnects.change(name, {"rate_kbps": 0 if before else WIDE_KBPS})

    def _is_live(self, name: str) -> bool:
        return self.interconnects.get(name).status.state == status_pb2.Status.LIVE

    def await_whole(self) -> None:
        """Wait until all sessions are up and watched, and every site is reached. Raises TimeoutError."""
        self.interconnects.seconds_until_established(*self.names)
        await_condition(lambda: all(map(self.interconnects.watched, self.names)), "BFD up", REACHED_SECONDS)
        # Links are looked at once a second.
        await_condition(lambda: all(map(self._is_live, self.names)), "live", REACHED_SECONDS)
        for tenancy in self.both:
            await_condition(lambda to=tenancy: reaches(to), f"{tenancy.network} reached", REACHED_SECONDS)


def reaches(tenancy: Tenancy, seconds: float = 0.3) -> bool:
    """Whether a machine reaches the PC of its own site."""
    answer = ask_udp(tenancy.machine.pid, [tenancy.pc_address], seconds).get(tenancy.pc_address)
    return answer is not None and answer.name == tenancy.pc.name


@pytest.fixture(scope="module")
def interconnect_world(sandbox: Sandbox) -> Iterator[World]:
    """Made once for a module of tests; all sessions and the VPN are established."""
    with ExitStack() as stack:
        maker = Tenants(sandbox)
        stack.callback(maker.close)
        interconnects, vpn = Interconnects(sandbox), Vpn(sandbox)
        ports = {port: CrossConnect(sandbox, port) for port in ("xc1", "xc2")}
        first = _tenancy(sandbox, maker, stack, "files", 0)
        second = _tenancy(sandbox, maker, stack, "till", 1, mtu=SMALL_MTU)
        links = {
            "files-1": first.customer.join(ports["xc1"], "link1", 101, LINK),
            "files-2": first.customer.join(ports["xc2"], "link2", 102, SECOND_LINK),
            "till-1": second.customer.join(ports["xc1"], "link1", 201, LINK),
        }
        made = {}
        for tenancy in (first, second):
            tenancy.customer.start(tenancy.customer.site.prefix)
            for name in (name for name in links if name.startswith(tenancy.drive.name)):
                tenancy.links[name] = links[name]
                made[name] = direct_connect(links[name]) | {"network": tenancy.network}
        # The better of the two, for both sides.
        made["files-1"]["preference"] = 200
        first.customer.favor("link1")
        peer = PeeringNetwork(sandbox, "peer", PEER_PREFIX, 5, PEER_AS, PASSWORD)
        stack.callback(peer.close)
        peer_link = peer.join(ports["xc1"], "link1", 300, PEER_LINK)
        peer.start(PEER_PREFIX)
        made["peer"] = peer_link.fields(PEER_AS) | {"password": PASSWORD}
        for name, fields in made.items():
            interconnects.create(name, live=False, **fields)
            stack.callback(interconnects.delete, name)
        _join_by_vpn(vpn, first, stack)
        world = World(first, second, maker.isolated(), peer, peer_link, interconnects, vpn, ports, made)
        world.await_whole()
        yield world


def direct_connect(link: Connection) -> dict[str, Any]:
    """The fields of a Direct Connect over a link of a customer."""
    return link.fields(CUSTOMER_AS) | {"accept_prefixes": [ACCEPT], "password": PASSWORD}


def _tenancy(sandbox: Sandbox, maker: Tenants, stack: ExitStack, name: str, number: int, mtu: int = 0) -> Tenancy:
    host = sandbox.add_storage_host(name, DRIVES[name])
    stack.callback(sandbox.unplug, name)
    made = maker.network(PREFIX, tenant=name, mtu=mtu)
    network = network_id(made)
    machines = maker.machines([Wanted("", network), Wanted("", network)])
    sandbox.create_drive(name, network, DRIVES[name])
    stack.callback(sandbox.delete_drive, name)
    customer = CustomerRouter(sandbox, f"hq{number}", SITE_PREFIX, number, CUSTOMER_AS, PASSWORD)
    stack.callback(customer.close)
    return Tenancy(network, made.key, machines, host, customer, {})


def _join_by_vpn(vpn: Vpn, tenancy: Tenancy, stack: ExitStack) -> None:
    site = tenancy.customer.site
    gateway = vpn.create_gateway("backup", tenancy.network)
    stack.callback(vpn.delete_gateway, "backup")
    site.start()
    site.connect(site.name, Peering(gateway.address, SECRET, [site.prefix], [PREFIX, "10.250.0.0/24"]))
    vpn.connect(site.name, "backup", [SITE_PREFIX], peer=site.address, pre_shared_key=SECRET)
    stack.callback(vpn.disconnect, site.name)
    vpn.seconds_until_established(site.name)


def arriving(source: str, to: str, mark: bytes, destination: str = INTERCONNECT_MAC) -> Packet:
    """A datagram as the peer's router would send it."""
    return Ether(dst=destination) / IP(src=source, dst=to) / UDP(sport=9, dport=9) / Raw(mark)


def from_peer(tenancy: Tenancy, frame: Packet, name: str) -> None:
    """Have the customer's router send a frame by hand on the link of an interconnect."""
    interface = tenancy.links[name].interface
    frame[Ether].src = tenancy.router.intf(interface).MAC()
    with Wire(tenancy.router.pid, interface) as wire:
        wire.send(frame)


def link_of(tenancy: Tenancy) -> str:
    """The interconnect by which a machine's packets go to the site; empty: by none. Sends one."""
    mark = new_mark()
    frame = routed(tenancy.machine, tenancy.pc_address) / UDP(sport=9, dport=9) / Raw(mark)
    with ExitStack() as stack:
        wires = {
            name: stack.enter_context(Wire(tenancy.router.pid, link.interface)) for name, link in tenancy.links.items()
        }
        with Wire(tenancy.machine.pid) as out:
            out.send(frame)
        return next((name for name, wire in wires.items() if wire.receive(carries(mark), 0.15) is not None), "")


@dataclass(frozen=True)
class Leg:
    """The namespace of an interconnect, and the process ids of its daemons by program."""

    namespace: str
    daemons: dict[str, int]

    @property
    def pid(self) -> int:
        """Of some process in it."""
        return next(iter(self.daemons.values()))


def leg_of(tenancy: Tenancy, name: str) -> Leg:
    """The leg of an interconnect, found by its addresses and the MAC of its peer. Raises LookupError."""
    link = tenancy.links[name]
    mac = tenancy.router.intf(link.interface).MAC()
    for namespace in _lines("ip", "netns"):
        namespace = namespace.split()[0]
        inside = ("ip", "-n", namespace)
        if not namespace.startswith("sluice-bgp-"):
            continue
        addresses, neighbours = _lines(*inside, "-br", "address"), _lines(*inside, "neighbour")
        if f"{link.peer}/" in " ".join(addresses) and mac in " ".join(neighbours):
            pids = [int(pid) for pid in _lines("ip", "netns", "pids", namespace)]
            return Leg(namespace, {Path(f"/proc/{pid}/comm").read_text().strip(): pid for pid in pids})
    raise LookupError(f"no leg of {name}")


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def remote_flows(sandbox: Sandbox, key: int) -> dict[str, str]:
    """What a network's flows do with what goes to each prefix beyond it: prefix → actions."""
    found = {}
    for line in sandbox.appliance.ofctl("dump-flows", f"table=remote-route,metadata={key:#x}").splitlines():
        prefix = re.search(r"nw_dst=([\d./]+)", line)
        if prefix:
            found[prefix[1]] = line.partition("actions=")[2].strip()
    return found


def seconds_until(condition: Callable[[], bool], what: str, limit: float) -> float:
    """How long it takes from now until a condition holds. Raises TimeoutError."""
    began = time.monotonic()
    await_condition(condition, what, limit, 0.01)
    return time.monotonic() - began
