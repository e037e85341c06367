"""The cache on updates as the server may deliver them: several transactions in one, in any order of rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cache.desired_state import DesiredStateCache
from agent.cache.records import DriveView, MachineView, NetworkView, PublicAddressView, View
from agent.clock import Clock
from agent.ipam.appliance_pools import Pools
from agent.translation_log import TranslationLog
from state import rows
from state.model import Appliance, Attachment, Gateway, Kind, Machine, Network, NetworkStatus, PortBlock, State
from state.ovsdb import Row, RowChange

APPLIANCE = Appliance(Gateway("up", "203.0.113.2/24", "203.0.113.1"), ("198.51.100.1",), block_size=1024)
COOLDOWN, DAY = 1000, 86_400_000


class Heard:
    """A cache, and the changes it told of as text: `+networks/a`, `~machines/m live`, `-networks/a`."""

    def __init__(self) -> None:
        self.events: list[str] = []
        pools = Pools(APPLIANCE, COOLDOWN)
        self.cache = DesiredStateCache(pools, self._hear, Clock(), keep_blocks=DAY, keep_released=COOLDOWN)

    def _hear(self, before: View | None, after: View | None) -> None:
        view = after or before
        assert view is not None
        match view:
            case NetworkView():
                name = f"networks/{view.network.name}"
            case MachineView():
                name = f"machines/{view.machine.name}"
            case PublicAddressView():
                name = f"publicAddresses/{view.address.name}"
            case DriveView():
                name = f"drives/{view.drive.name}"
        sign = "+" if before is None else "-" if after is None else "~"
        self.events.append(f"{sign}{name}" + (f" {view.status.state.value}" if sign == "~" else ""))

    def apply(self, *changes: RowChange) -> list[str]:
        """Apply one update and answer what was heard of it."""
        self.events.clear()
        self.cache.apply(changes)
        return self.events[:]


def network(name: str, key: int = 1, revision: int = 10, **fields: Any) -> Network:
    block = PortBlock("198.51.100.1", 1024 * key, 1024 * key + 1023)
    made = Network(name, Kind.PRIVATE, "t", key, "10.0.0.0/16", "10.0.0.1", block, revision=revision, created_at=5)
    return replace(made, **fields)


def machine(name: str, number: int, **fields: Any) -> Machine:
    made = Machine(
        name, number, f"02:00:00:00:00:0{number}", f"10.0.0.{number + 1}", f"224.0.0.{number}", name,
        Attachment("trunk", vlan=number),
    )  # fmt: skip
    return replace(made, **fields)


def network_change(uuid: str, new: Network | None, old: Network | None = None) -> RowChange:
    return RowChange("Network", uuid, old and rows.network_row(old), new and rows.network_row(new))


def machine_change(uuid: str, of: str, new: Machine | None, old: Machine | None = None) -> RowChange:
    reference = ["uuid", of]
    before, after = (None if m is None else rows.machine_row(m, reference, 5) for m in (old, new))
    return RowChange("Machine", uuid, before, after)


def status_change(uuid: str, name: str, status: NetworkStatus | None) -> RowChange:
    row = rows.status_row(name, status or NetworkStatus(0, State.LIVE))
    return RowChange("Network_Status", uuid, None if status else row, row if status else None)


def test_a_name_that_changes_hands_within_one_update() -> None:
    heard = Heard()
    heard.apply(network_change("u1", network("a")), machine_change("m1", "u1", machine("m", 1)))
    events = heard.apply(
        machine_change("m2", "u2", machine("m", 2)),
        network_change("u2", network("a", 2)),
        network_change("u1", None, network("a")),
        machine_change("m1", "u1", None, machine("m", 1)),
    )
    assert events == ["-machines/m", "-networks/a", "+networks/a", "+machines/m"]
    assert heard.cache.networks["a"].network.key == 2
    assert heard.cache.networks["a"].macs == {"02:00:00:00:00:02": "m"}
    assert next(heard.cache.pools.key.free(0)) == "1"


def test_machines_that_swap_what_is_unique() -> None:
    heard = Heard()
    one, two = machine("m", 1), machine("n", 2)
    heard.apply(network_change("u", network("a")), machine_change("1", "u", one), machine_change("2", "u", two))
    swapped = replace(one, mac=two.mac, hostname=two.hostname, attachment=two.attachment)
    back = replace(two, mac=one.mac, hostname=one.hostname, attachment=one.attachment)
    heard.apply(
        network_change("u", network("a", revision=12), network("a")),
        machine_change("1", "u", swapped, one),
        machine_change("2", "u", back, two),
    )
    record = heard.cache.networks["a"]
    assert record.macs == {one.mac: "n", two.mac: "m"}
    assert record.hostnames == {"m": "n", "n": "m"}
    assert record.attachments == {one.attachment: {"n"}, two.attachment: {"m"}}


def test_only_what_clients_see_is_told() -> None:
    heard = Heard()
    first, second = machine("m", 1), machine("n", 2)
    events = heard.apply(network_change("u", network("a")), machine_change("1", "u", first))
    assert events == ["+networks/a", "+machines/m"]
    assert heard.apply(network_change("u", network("a", revision=11), network("a"))) == []
    live = NetworkStatus(11, State.LIVE)
    assert heard.apply(status_change("s", "a", live)) == ["~networks/a live", "~machines/m live"]
    changed = (network_change("u", network("a", revision=12), network("a", revision=11)),)
    assert heard.apply(*changed, machine_change("2", "u", second)) == ["+machines/n", "~networks/a pending"]
    missing = NetworkStatus(12, State.LIVE, machines={"n": "port n is not on the bridge"})
    assert heard.apply(status_change("s", "a", missing)) == ["~networks/a live", "~machines/n error"]
    assert heard.apply(status_change("s", "a", replace(missing, revision=13, machines={}))) == ["~machines/n live"]
    # The same rows once more, as after a reconnection.
    same = rows.network_row(network("a", revision=12))
    assert heard.apply(RowChange("Network", "u", same, same)) == []
    events = heard.apply(status_change("s", "a", None))
    assert events == ["~networks/a pending", "~machines/m pending", "~machines/n pending"]


def test_a_status_that_is_replaced_within_one_update() -> None:
    heard = Heard()
    heard.apply(network_change("u", network("a")), status_change("s1", "a", NetworkStatus(10, State.ERROR, "no")))
    new = status_change("s2", "a", NetworkStatus(10, State.LIVE))
    assert heard.apply(new, status_change("s1", "a", None)) == ["~networks/a live"]


def test_a_status_of_an_earlier_network_of_that_name_is_not_its_status() -> None:
    heard = Heard()
    heard.apply(status_change("s", "a", NetworkStatus(10, State.LIVE)))
    heard.apply(network_change("u", network("a", revision=11)))
    assert heard.cache.networks["a"].view.status.state is State.PENDING


def allocation(value: str, at: int, released: int, network: str = "a") -> Row:
    return {"pool": "port-block", "value": value, "network": network, "tenant": "t", "prefix": "10.0.0.0/16",
            "allocated_at": at, "released_at": released}  # fmt: skip


@given(st.permutations([(0, 10), (10, 20), (30, 0)]), st.integers(-1, 40))
@settings(max_examples=50)
def test_history_answers_whatever_the_order_of_rows(spans: list[tuple[int, int]], moment: int) -> None:
    history = TranslationLog()
    for at, released in spans:
        history.add(allocation("198.51.100.1:1024-2047", at, released, f"n{at}"))
    held = history.at("198.51.100.1", 1500, moment)
    expected = "n0" if 0 <= moment < 10 else "n10" if 10 <= moment < 20 else "n30" if moment >= 30 else None
    assert (None if held is None else held.network) == expected


def test_history_of_blocks_of_different_sizes_and_forgotten_ones() -> None:
    history = TranslationLog()
    small, large = allocation("198.51.100.1:5120-6143", 0, 10, "s"), allocation("198.51.100.1:4096-8191", 20, 0, "l")
    history.add(small)
    history.add(large)

    def who(port: int, moment: int) -> str | None:
        held = history.at("198.51.100.1", port, moment)
        return None if held is None else held.network

    assert [who(5120, 5), who(5119, 5), who(5120, 15), who(5120, 25), who(8191, 25), who(8192, 25)] == [
        "s", None, None, "l", "l", None,
    ]  # fmt: skip
    history.remove(small)
    assert who(5120, 5) is None
    assert history.at("198.51.100.2", 5120, 25) is None
