"""Usage: whatever is restarted, changed or deleted between readings, nothing is counted twice."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from controller.pipeline.registry import MeterClass, meter
from controller.usage.readings import Owner, Owners, Reading, advance, counted
from state.usage import Baseline, Usage, column, usage, usage_row

NET = Owner("net", "net", "networks/net", frozenset({"private"}))
LONELY = Owner("lone", "lone", "networks/lone", frozenset({"public", "private", "storage"}))
ADA, BOB, EVE = (Owner(uuid, "net", f"machines/{uuid}") for uuid in ("ada", "bob", "eve"))
SOLO = Owner("solo", "lone", "machines/solo")
OWNERS = Owners({1: ADA, 2: BOB, 3: SOLO}, {7: NET, 8: LONELY})
OUT, IN, NEAR = MeterClass.MACHINE_PUBLIC_OUT, MeterClass.MACHINE_PUBLIC_IN, MeterClass.MACHINE_PRIVATE_OUT


def reading(count: int, at: int = 100_000, made: int = 1000, rate: str = "10/2", boot: str = "b") -> Reading:
    """A counter that let `count` packets of 100 bytes through."""
    return Baseline(boot, rate, made, made + 1, at, count, count * 100)


def taken(
    usages: dict[str, Usage], readings: dict[int, Reading], owners: Owners = OWNERS, *, complete: bool = True
) -> dict[str, Usage]:
    """The rows afterwards."""
    after = dict(usages)
    for uuid, row in advance(usages, owners, readings, 5, complete=complete).items():
        if row is None:
            del after[uuid]
        else:
            after[uuid] = row
    return after


def packets(usages: dict[str, Usage], owner: Owner, kind: str = "public", direction: str = "out") -> int:
    row = usages.get(owner.uuid)
    if row is None:
        return 0
    count = row.counts.get(column(kind, direction, "packets"), 0)
    assert row.counts.get(column(kind, direction, "bytes"), 0) == 100 * count
    return count


@dataclass
class Switch:
    """One machine's counter as the switch has it, and what really passed."""

    count: int = 0
    made: int = 1000
    now: int = 1000
    rate: int = 10
    boot: int = 0
    truth: int = 0
    unread: int = 0
    lost: int = 0
    usages: dict[str, Usage] = field(default_factory=dict)

    def begin_anew(self) -> None:
        self.count, self.lost, self.unread = 0, self.lost + self.unread, 0

    def step(self, what: str, amount: int) -> None:
        self.now += 5000
        match what:
            case "traffic":
                self.count, self.truth, self.unread = self.count + amount, self.truth + amount, self.unread + amount
            case "read":
                number = meter(OUT, 3)
                made = dataclasses.replace(reading(self.count, self.now, self.made, f"{self.rate}/1", str(self.boot)))
                # Nothing but rows is kept from one reading to the next: every reading is that of a new process.
                stored = {uuid: usage(usage_row(row)) for uuid, row in self.usages.items()}
                self.usages = taken(stored, {number: made})
                self.unread = 0
            case "rate":
                self.rate += 1
                self.begin_anew()
            case "switch restarted":
                self.made = self.now
                self.begin_anew()
            case "host restarted":
                self.boot, self.now, self.made = self.boot + 1, 1000, 1000
                self.begin_anew()


steps = st.lists(
    st.tuples(
        st.sampled_from(["traffic", "traffic", "read", "read", "rate", "switch restarted", "host restarted"]),
        st.integers(0, 50),
    ),
    max_size=40,
)


@given(steps)
def test_what_was_read_counts_once_and_only_what_was_not_read_is_lost(history: list[tuple[str, int]]) -> None:
    switch = Switch()
    for what, amount in (*history, ("read", 0)):
        switch.step(what, amount)
    assert packets(switch.usages, SOLO) == switch.truth - switch.lost
    assert packets(switch.usages, LONELY) == switch.truth - switch.lost


@given(steps)
def test_read_before_each_change_nothing_is_lost(history: list[tuple[str, int]]) -> None:
    switch = Switch()
    for what, amount in history:
        switch.step("read", 0)
        switch.step(what, amount)
    switch.step("read", 0)
    assert packets(switch.usages, SOLO) == switch.truth


def test_the_same_reading_again_changes_nothing() -> None:
    """As when the answer to a transaction was lost."""
    readings = {meter(OUT, 1): reading(5), meter(NEAR, 1): reading(3)}
    once = taken({}, readings)
    assert taken(once, readings) == once
    assert advance(once, OWNERS, {m: dataclasses.replace(r, at=r.at + 1) for m, r in readings.items()}, 9,
                   complete=True) == {}  # fmt: skip


def test_an_older_reading_is_not_a_counter_that_began_anew() -> None:
    once = taken({}, {meter(OUT, 1): reading(5, at=200)})
    assert taken(once, {meter(OUT, 1): reading(4, at=100)}, complete=False) == once


def test_a_network_sums_what_it_has_no_meter_for() -> None:
    rows = taken({}, {meter(NEAR, 1): reading(3), meter(NEAR, 2): reading(4), meter(OUT, 1): reading(9),
                      meter(MeterClass.NETWORK_PUBLIC_OUT, 7): reading(8)})  # fmt: skip
    assert (packets(rows, NET, "private"), packets(rows, NET)) == (7, 8)
    assert (packets(rows, ADA, "private"), packets(rows, ADA)) == (3, 9)


def test_a_deleted_machine_stays_in_its_networks_total() -> None:
    rows = taken({}, {meter(NEAR, 1): reading(3), meter(NEAR, 2): reading(4)})
    left = dataclasses.replace(OWNERS, machines={2: BOB})
    rows = taken(rows, {meter(NEAR, 1): reading(5, 200_000)}, left, complete=False)
    assert packets(rows, NET, "private") == 9
    # Once its meters are gone so is its row.
    rows = taken(rows, {meter(NEAR, 2): reading(4, 300_000)}, left)
    assert set(rows) == {"net", "bob"}
    assert packets(rows, NET, "private") == 9


def test_a_machine_deleted_before_it_was_ever_read_counts_for_its_network() -> None:
    gone = Owners({1: ADA}, {7: NET}, frozenset({"ada"}))
    rows = taken({}, {meter(NEAR, 1): reading(5)}, gone, complete=False)
    assert packets(rows, NET, "private") == 5
    rows = taken(rows, {}, Owners({}, {7: NET}))
    assert (set(rows), packets(rows, NET, "private")) == ({"net"}, 5)


def test_a_number_that_changes_hands_takes_no_traffic_along() -> None:
    """The meter stays on the switch when the machines change while no controller runs."""
    rows = taken({}, {meter(OUT, 1): reading(5)})
    after = dataclasses.replace(OWNERS, machines={1: EVE})
    rows = taken(rows, {meter(OUT, 1): reading(8, 200_000)}, after)
    assert "ada" not in rows
    assert packets(rows, EVE) == 0
    rows = taken(rows, {meter(OUT, 1): reading(10, 300_000)}, after)
    assert packets(rows, EVE) == 2


def test_a_meter_made_anew_counts_for_whose_it_is_now() -> None:
    rows = taken({}, {meter(OUT, 1): reading(5)})
    after = dataclasses.replace(OWNERS, machines={1: EVE})
    rows = taken(rows, {meter(OUT, 1): reading(8, 200_000, made=150_000)}, after)
    assert packets(rows, EVE) == 8


def test_meters_of_nobody_and_of_no_use_are_left_out() -> None:
    assert taken({}, {meter(OUT, 99): reading(5)}) == {}
    assert counted([meter(MeterClass.MACHINE_DHCP, 1), meter(OUT, 1), 12345678]) == [meter(OUT, 1)]


def test_times_that_are_rounded_are_of_the_same_counter() -> None:
    rows = taken({}, {meter(OUT, 1): reading(5, made=1000)})
    rows = taken(rows, {meter(OUT, 1): reading(7, 200_000, made=1015)})
    assert packets(rows, ADA) == 7


def test_what_goes_by_tunnels_is_counted_for_the_network_alone() -> None:
    out, into = meter(MeterClass.NETWORK_VPN_OUT, 7), meter(MeterClass.NETWORK_VPN_IN, 7)
    assert counted([out, into]) == [out, into]
    usages = taken({}, {out: reading(3), into: reading(5)})
    assert (packets(usages, NET, "vpn", "out"), packets(usages, NET, "vpn", "in")) == (3, 5)
    assert packets(usages, NET) == 0
    assert usages.keys() == {NET.uuid}


def test_what_goes_by_direct_connect_is_counted_for_its_network_and_by_peerings_for_nobody() -> None:
    meters = [meter(kind, n) for kind in (MeterClass.INTERCONNECT_OUT, MeterClass.INTERCONNECT_IN) for n in (5, 6)]
    assert counted([*meters, meter(MeterClass.INTERCONNECT_LINK, 5)]) == meters
    owners = Owners({}, {7: NET}, interconnects={5: NET})
    usages = advance({}, owners, {one: reading(3) for one in meters}, 1, complete=True)
    found = {uuid: row for uuid, row in usages.items() if row is not None}
    assert (packets(found, NET, "interconnect", "out"), packets(found, NET, "interconnect", "in")) == (3, 3)
    assert (packets(found, NET), packets(found, NET, "vpn", "out"), found.keys()) == (0, 0, {NET.uuid})
