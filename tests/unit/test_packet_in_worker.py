"""Packets the switch sends up: handed to the services, answered, and never too many."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import examples
import pytest
from dummy_switch import wait_until

from controller import metrics
from controller.packet_in import worker
from controller.packet_in.handler import HandlerView, PacketIn, PacketInReply, PacketOut
from controller.packet_in.queue import PacketQueue
from controller.packet_in.worker import PacketInWorker
from controller.pipeline.flow import Output
from controller.pipeline.registry import Table
from controller.reconcile.compile import PipelineContext
from controller.reconcile.events import Event, NeighborsSilent
from state.model import Network
from state.ovsdb import DatabaseUnavailable

PACKET = PacketIn(Table.GATEWAY, 0, 1, bytes(60))


class Surroundings:
    """Source, switch and site in one."""

    def __init__(self) -> None:
        self.connected = True
        self.site: PipelineContext | None = examples.SITE
        self.neighbors: Mapping[str, str] = {}
        self.drives: Mapping[str, int] = {}
        self.forgotten: list[str] = []
        self.events: list[Event] = []
        self.sent: list[PacketOut] = []
        self.written: list[tuple[str, str]] = []
        self.down = False

    def network(self, key: int) -> Network | None:
        return next((network for network in examples.NETWORKS if network.key == key), None)

    def write_neighbor(self, address: str, mac: str) -> None:
        if self.down:
            raise DatabaseUnavailable("no database")
        self.written.append((address, mac))

    def forget_neighbors(self, addresses: Collection[str]) -> None:
        self.forgotten += sorted(addresses)

    def post(self, event: Event) -> None:
        self.events.append(event)

    def packet_out(self, packets: list[PacketOut]) -> None:
        self.sent += packets


@pytest.fixture
def around() -> Surroundings:
    return Surroundings()


@pytest.fixture
def answers(around: Surroundings) -> PacketInWorker:
    return PacketInWorker(around, around, around)


def answering(monkeypatch: pytest.MonkeyPatch, value: PacketInReply) -> list[HandlerView]:
    views: list[HandlerView] = []

    def reply(packet: PacketIn, view: HandlerView) -> PacketInReply:
        views.append(view)
        return value

    monkeypatch.setattr(worker, "answer", reply)
    return views


def test_the_answer_is_sent(monkeypatch: pytest.MonkeyPatch, answers: PacketInWorker, around: Surroundings) -> None:
    out = PacketOut(b"frame", (Output(1),))
    views = answering(monkeypatch, PacketInReply("done", (out,)))
    answers.handle(PACKET)
    assert around.sent == [out]
    assert views[0].appliance == examples.APPLIANCE
    assert views[0].network(examples.OFFICE.key) == examples.OFFICE


def test_a_learned_neighbor_is_written(
    monkeypatch: pytest.MonkeyPatch, answers: PacketInWorker, around: Surroundings
) -> None:
    answering(monkeypatch, PacketInReply("neighbor", neighbor=("203.0.113.1", "02:00:00:00:00:01")))
    answers.handle(PACKET)
    assert around.written == [("203.0.113.1", "02:00:00:00:00:01")]


def test_a_database_that_is_away_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, answers: PacketInWorker, around: Surroundings
) -> None:
    answering(monkeypatch, PacketInReply("neighbor", neighbor=("203.0.113.1", "02:00:00:00:00:01")))
    around.down = True
    answers.handle(PACKET)
    assert around.written == []


def test_nothing_is_answered_before_the_settings_are_known(
    monkeypatch: pytest.MonkeyPatch, answers: PacketInWorker, around: Surroundings
) -> None:
    views = answering(monkeypatch, PacketInReply("done"))
    around.site = None
    answers.handle(PACKET)
    assert views == []


def test_too_many_are_dropped_and_counted(answers: PacketInWorker) -> None:
    before = metrics.PACKET_INS_LOST._value.get()
    for _ in range(510):
        answers.put(PACKET)
    assert metrics.PACKET_INS_LOST._value.get() == before + 10


def of(key: int, number: int = 0) -> PacketIn:
    return PacketIn(Table.PORT_SECURITY, key, number, b"")


def test_a_network_that_floods_leaves_places_and_turns_to_others() -> None:
    packets = PacketQueue(100)
    assert [packets.put(of(1, number)) for number in range(60)] == [True] * 50 + [False] * 10
    assert [packets.put(of(2, number)) for number in range(60)] == [True] * 33 + [False] * 27
    # Who comes last has a place, however many there are.
    assert all(packets.put(of(key)) for key in range(3, 300))
    assert not packets.put(of(1))
    found = [packets.get(0) for _ in range(299)]
    assert [packet and packet.key for packet in found] == list(range(1, 300))
    # Those that are left, in order.
    assert [packets.get(0) for _ in range(4)] == [of(1, 1), of(2, 1), of(1, 2), of(2, 2)]


def test_nothing_waits_for_ever() -> None:
    packets = PacketQueue(4)
    assert packets.get(0) is None
    assert packets.put(of(1, 1))
    assert (packets.get(0), packets.get(0)) == (of(1, 1), None)


def test_a_fault_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch, answers: PacketInWorker, around: Surroundings
) -> None:
    seen = []

    def broken(packet: PacketIn, view: HandlerView) -> PacketInReply:
        seen.append(packet)
        raise ValueError("bug")

    monkeypatch.setattr(worker, "answer", broken)
    answers.start()
    answers.put(PACKET)
    answers.put(PACKET)
    wait_until(lambda: len(seen) == 2, what="both handled")


@pytest.mark.parametrize(
    ("site", "connected", "asked"),
    [
        (examples.SITE, True, True),
        (examples.SITE, False, False),
        (None, True, False),
        (PipelineContext(examples.APPLIANCE, {}, {}), True, False),
    ],
    ids=["asks for the next hop", "no switch", "no settings", "no gateway port"],
)
def test_the_next_hop_is_asked_for(
    answers: PacketInWorker, around: Surroundings, site: PipelineContext | None, connected: bool, asked: bool
) -> None:
    around.site, around.connected = site, connected
    answers.start()
    if asked:
        wait_until(lambda: around.sent, what="asked")
        assert around.sent[0].actions == (Output(examples.SITE.ports["uplink"]),)
    else:
        wait_until(lambda: answers._probe_at > 0, what="decided")
        assert around.sent == []


def test_drives_are_asked_for_by_the_storage_port_and_silent_ones_told_of(
    monkeypatch: pytest.MonkeyPatch, answers: PacketInWorker, around: Surroundings
) -> None:
    now = 100.0
    monkeypatch.setattr(worker.time, "monotonic", lambda: now)
    drive = examples.OFFICE.drives[0].address
    around.drives = {drive: examples.OFFICE.key}
    around.neighbors = {drive: "02:00:00:00:d0:10"}
    for _ in range(6):
        answers._probe()
        now += 1
    asked = [packet for packet in around.sent if packet.actions == (Output(examples.SITE.ports["storage"]),)]
    assert len(asked) == 6
    assert around.events == [NeighborsSilent(frozenset({drive}))]
    assert around.forgotten == [drive]
    answering(monkeypatch, PacketInReply("neighbor", neighbor=(drive, "02:00:00:00:d0:10")))
    answers.handle(PACKET)
    answers._probe()
    assert around.events[1:] == [NeighborsSilent(frozenset())]


def test_neighbors_of_nobody_are_forgotten_and_the_next_hop_is_kept(
    answers: PacketInWorker, around: Surroundings
) -> None:
    next_hop = examples.APPLIANCE.gateway.next_hop
    around.neighbors = {next_hop: "02:00:00:00:00:fe", "10.250.0.77": "02:00:00:00:d0:77"}
    for _ in range(3):
        answers._probe()
    assert set(around.forgotten) == {"10.250.0.77"}


def test_no_drive_is_lost_for_want_of_a_storage_port(
    monkeypatch: pytest.MonkeyPatch, answers: PacketInWorker, around: Surroundings
) -> None:
    now = 100.0
    monkeypatch.setattr(worker.time, "monotonic", lambda: now)
    drive = examples.OFFICE.drives[0].address
    around.drives, around.neighbors = {drive: examples.OFFICE.key}, {drive: "02:00:00:00:d0:10"}
    around.site = PipelineContext(examples.APPLIANCE, {"uplink": 1}, {})
    for _ in range(10):
        answers._probe()
        now += 1
    assert (around.forgotten, around.events) == ([], [])
