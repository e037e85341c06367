"""How many packets a second services answer on one core, without a switch: `python bench/services.py`."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from controller.packet_in import PacketIn, answer
from controller.pipeline.context import PipelineContext
from controller.pipeline.registry import Table
from state.model import Appliance, Attachment, Gateway, Kind, Machine, Network, PortBlock

SECONDS = 1.0
SERVER = "192.0.2.80"
APPLIANCE = Appliance(Gateway("uplink", "203.0.113.2/24", "203.0.113.1"), ("203.0.113.64/28",))
SITE = PipelineContext(APPLIANCE, {"trunk": 1, "uplink": 2})


def network(machines: int) -> Network:
    """A private network; the machine asked about is its last."""
    members = tuple(
        Machine(f"m{n}", n, f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", f"10.0.{n >> 8}.{n & 255}",
                f"100.64.{n >> 8}.{n & 255}", f"m{n}", Attachment("trunk", vlan=7))
        for n in range(2, machines + 2)
    )  # fmt: skip
    block = PortBlock("203.0.113.64", 1024, 2047)
    return Network("office", Kind.PRIVATE, "acme", 5, "10.0.0.0/16", "10.0.0.1", block, machines=members)


@dataclass(frozen=True)
class World:
    """A view of one network."""

    only: Network
    site: PipelineContext = SITE
    appliance: Appliance = APPLIANCE

    def network(self, key: int) -> Network | None:
        """The network, whatever the key."""
        return self.only


def rate(table: Table, frame: Packet, world: World) -> float:
    """Answers a second to one frame."""
    packet = PacketIn(table, world.only.key, 1, bytes(frame))
    assert answer(packet, world).out, answer(packet, world).what
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < SECONDS:
        for _ in range(100):
            answer(packet, world)
        count += 100
    return count / passed


def main() -> None:
    """Print one line a kind of packet."""
    for machines in (1, 100, 1000):
        world = World(network(machines))
        machine = world.only.machines[-1]
        header = Ether(src=machine.mac, dst=APPLIANCE.router_mac)
        chaddr = bytes.fromhex(machine.mac.replace(":", ""))
        ask = [("message-type", "discover"), ("param_req_list", [1, 3, 6, 12, 15, 26, 28, 42, 121]), "end"]
        dhcp = IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / BOOTP(chaddr=chaddr)
        probe = IP(src=machine.address, dst=SERVER, ttl=1) / UDP(dport=33434) / Raw(bytes(32))
        quote = IP(src=SERVER, dst=machine.address) / UDP(sport=53, dport=4000) / Raw(bytes(500))
        error = IP(src=machine.address, dst=SERVER) / ICMP(type=3, code=3) / quote
        large = replace(world, appliance=replace(APPLIANCE, gateway=replace(APPLIANCE.gateway, mtu=1400)))
        datagram = IP(src=machine.address, dst=SERVER) / UDP() / Raw(bytes(1472))
        for what, table, frame, view in (
            ("DHCP offer", Table.PORT_SECURITY, header / dhcp / DHCP(options=ask), world),
            ("time exceeded", Table.TTL, header / probe, world),
            ("ICMP error across the transit rewrite", Table.TRANSIT, header / error, world),
            ("datagram in two fragments", Table.FRAGMENTATION, header / datagram, large),
        ):
            print(f"{machines:5} machines  {what:38} {rate(table, frame, view):9,.0f} a second", flush=True)


if __name__ == "__main__":
    main()
