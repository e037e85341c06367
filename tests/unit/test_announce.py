"""Public addresses are announced on the gateway's link when they come."""

from __future__ import annotations

import examples
import pytest
from scapy.layers.l2 import ARP, Ether

from controller import gratuitous_arp
from controller.conntrack.flush import AddressAssignment
from controller.gratuitous_arp import GratuitousArp
from controller.packet_in import PacketOut, neighbor
from controller.pipeline.flow import Output
from controller.reconcile.compile import PipelineContext

GATEWAY = examples.APPLIANCE.gateway


class Surroundings:
    """Switch and site in one."""

    def __init__(self, site: PipelineContext | None = examples.SITE) -> None:
        self.site = site
        self.connected = True
        self.sent: list[PacketOut] = []

    def packet_out(self, packets: list[PacketOut]) -> None:
        self.sent += packets


def test_an_announcement_is_a_request_for_oneself() -> None:
    out = neighbor.announcement(examples.SITE, "203.0.113.130")
    assert out is not None
    frame = Ether(out.frame)
    assert out.actions == (Output(examples.SITE.ports[GATEWAY.port]),)
    assert (frame.src, frame.dst) == (GATEWAY.mac, "ff:ff:ff:ff:ff:ff")
    told = frame[ARP]
    assert (told.op, told.hwsrc, told.psrc, told.hwdst, told.pdst) == (
        1,
        GATEWAY.mac,
        "203.0.113.130",
        "00:00:00:00:00:00",
        "203.0.113.130",
    )


def test_what_is_routed_to_us_is_not_announced() -> None:
    assert neighbor.announcement(examples.SITE, "198.51.100.77") is None


def test_without_the_gateway_port_nothing_is_announced() -> None:
    assert neighbor.announcement(PipelineContext(examples.APPLIANCE), "203.0.113.130") is None


def test_each_address_is_announced_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gratuitous_arp, "_INTERVAL_SECONDS", 0.01)
    around = Surroundings()
    announcer = GratuitousArp(around, around)
    announcer.announce_all([AddressAssignment("203.0.113.130", 2), AddressAssignment("203.0.113.131", 3)])
    for _ in range(4):
        announcer.turn()
    assert sorted(Ether(out.frame)[ARP].psrc for out in around.sent) == ["203.0.113.130"] * 2 + ["203.0.113.131"] * 2


def test_before_the_settings_are_known_nothing_is_announced() -> None:
    around = Surroundings(None)
    announcer = GratuitousArp(around, around)
    announcer.announce(AddressAssignment("203.0.113.130", 2))
    announcer.turn()
    assert around.sent == []
