"""A small appliance for the tests of services: one isolated and one private network, and a gateway."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum as scapy_checksum

from controller.packet_in import PacketIn, PacketInReply, answer
from controller.pipeline.context import PipelineContext
from controller.pipeline.registry import Table
from state.model import Appliance, Attachment, Gateway, Kind, Machine, Network, PortBlock

ROUTER_MAC = "02:00:00:00:ff:01"
GATEWAY_MAC = "02:00:00:00:ff:02"
NEXT_HOP_MAC = "0a:00:00:00:00:01"
PUBLIC = "198.51.100.10"
SERVER = "192.0.2.80"

ALONE = Machine("alone", 1, "02:00:00:00:00:01", "172.16.0.2", "172.16.0.2", "alone", Attachment("p1"))
ANNE = Machine("anne", 2, "02:00:00:00:00:02", "10.0.0.2", "100.64.0.1", "anne", Attachment("trunk", vlan=7))
BOB = Machine("bob", 3, "02:00:00:00:00:03", "10.0.0.3", "100.64.0.2", "bob", Attachment("tunnel", vni=99))
UNPLUGGED = Machine("gone", 4, "02:00:00:00:00:04", "10.0.0.4", "100.64.0.3", "gone", Attachment("missing"))

ISOLATED = Network(
    "solo", Kind.ISOLATED, "acme", 5, "172.16.0.0/30", "172.16.0.1", PortBlock(PUBLIC, 1024, 2047), machines=(ALONE,)
)
PRIVATE = Network(
    "office", Kind.PRIVATE, "acme", 6, "10.0.0.0/16", "10.0.0.1", PortBlock(PUBLIC, 2048, 3071),
    dns_servers=("192.0.2.53", "192.0.2.54"), mtu=1400, machines=(ANNE, BOB, UNPLUGGED),
)  # fmt: skip
APPLIANCE = Appliance(
    gateway=Gateway("uplink", "203.0.113.2/24", "203.0.113.1", mtu=1300),
    nat_pool=("198.51.100.0/28",),
    protected=("192.168.1.0/24",),
    dns_servers=("192.0.2.1",),
    domain="example.internal",
)
PORTS = {"p1": 11, "trunk": 12, "tunnel": 13, "uplink": 20}


@dataclass(frozen=True)
class World:
    """A view of desired state."""

    networks: tuple[Network, ...] = (ISOLATED, PRIVATE)
    appliance: Appliance = APPLIANCE

    @property
    def site(self) -> PipelineContext:
        return PipelineContext(self.appliance, PORTS)

    @property
    def drives(self) -> dict[str, int]:
        return {drive.address: network.key for network in self.networks for drive in network.drives}

    def network(self, key: int) -> Network | None:
        return next((network for network in self.networks if network.key == key), None)


WORLD = World()


def with_network(network: Network) -> World:
    """The world with one network in another state."""
    others = tuple(other for other in WORLD.networks if other.key != network.key)
    return replace(WORLD, networks=(*others, network))


def ask(
    table: Table,
    network: Network | int,
    frame: Packet | bytes,
    world: World = WORLD,
    in_port: int = 0,
    attachment: int = 0,
) -> PacketInReply:
    """The answer to one frame."""
    key = network if isinstance(network, int) else network.key
    return answer(PacketIn(table, key, in_port, bytes(frame), attachment=attachment), world)


def sent(reply: PacketInReply) -> Packet:
    """The one frame of an answer, parsed and with every checksum proved right."""
    (out,) = reply.out
    return proved(out.frame)


def proved(frame: bytes) -> Packet:
    """A frame parsed by scapy, which would build the very same bytes: lengths and checksums are right."""
    packet = Ether(frame)
    assert rebuilt(packet) == frame, packet.show(dump=True)
    return packet


def rebuilt(packet: Packet) -> bytes:
    """The bytes scapy makes of a packet when it computes lengths and checksums itself."""
    again = packet.copy()
    if ICMP in packet and packet[ICMP].type in (3, 4, 5, 11, 12):
        # Scapy would take what is quoted to pieces and look for extensions in it (RFC 4884).
        message = bytes(packet.original[14 + 20 :])
        total = scapy_checksum(message[:2] + bytes(2) + message[4:])
        again[IP].remove_payload()
        again = again / Raw(message[:2] + total.to_bytes(2, "big") + message[4:])
    for kind in (IP, UDP, TCP, ICMP):
        layer = again.getlayer(kind)
        for name in ("len", "chksum", "ihl", "dataofs"):
            if layer is not None and hasattr(layer, name):
                layer.delfieldval(name)
    return bytes(again)


def quoted(packet: Packet) -> bytes:
    """The datagram an ICMP error quotes, untouched."""
    return bytes(packet.original[14 + 20 + 8 :])


def from_machine(machine: Machine, payload: Packet, mac: str = ROUTER_MAC) -> Packet:
    """A frame of a machine to the router."""
    return Ether(src=machine.mac, dst=mac) / payload


def arp_reply(**fields: str) -> Packet:
    """The next hop's ARP reply, with fields changed."""
    values = {"psrc": "203.0.113.1", "hwsrc": NEXT_HOP_MAC, "pdst": "203.0.113.2", "hwdst": GATEWAY_MAC, "op": 2}
    return Ether(src=NEXT_HOP_MAC, dst=GATEWAY_MAC) / ARP(**values | fields)
