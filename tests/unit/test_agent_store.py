"""Commands against a real database: what is given out, what is refused, what is left behind."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from agent.cache.records import MachineView
from agent.errors import AlreadyExists, InUse, InvalidArgument, NotFound, RequestError, ResourceExhausted, Unavailable
from agent.housekeeping import Housekeeping
from agent.requests import AttachmentSpec, Idempotency, MachineSpec, MachineUpdate, NetworkSpec
from agent.store import Store
from state.model import Kind, State
from tests.agents import Controller, Database, StoppedClock, database, opened
from tests.dummy_switch import wait_until

NONE = Idempotency()
T = 5.0
MAC = "02:00:00:00:00:0{}"


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def store(server: Database, clock: StoppedClock) -> Iterator[Store]:
    with opened(server, clock) as made:
        yield made


def new(name: str, network: str = "", mac: int = 1, port: str = "", **more: object) -> MachineSpec:
    attachment = more.pop("attachment", None) or AttachmentSpec(port or name)
    reference = network and f"networks/{network}"
    return MachineSpec(name, reference, MAC.format(mac), attachment=attachment, **more)  # type: ignore[arg-type]


def create(store: Store, *requests: MachineSpec, repeat: Idempotency = NONE) -> list[MachineView]:
    return store.create_machines(requests, repeat, T, batch=len(requests) > 1)


def refused(kind: type[RequestError], store: Store, *requests: MachineSpec) -> str:
    with pytest.raises(kind) as caught:
        create(store, *requests)
    return caught.value.message


def test_a_machine_without_a_network_gets_a_slash_30_of_its_own(store: Store) -> None:
    (first,) = create(store, new("a"))
    (second,) = create(store, new("b"))
    assert (first.machine.address, second.machine.address) == ("172.16.0.2", "172.16.0.6")
    network = store.network("a").network
    assert (network.kind, network.prefix, network.router) == (Kind.ISOLATED, "172.16.0.0/30", "172.16.0.1")
    assert (first.machine.transit, first.machine.hostname, network.implicit) == ("172.16.0.2", "a", True)
    assert network.key != store.network("b").network.key
    assert network.block != store.network("b").network.block


def test_deleting_the_machine_deletes_its_network(store: Store) -> None:
    create(store, new("a"))
    with pytest.raises(InUse, match="machines/a"):
        store.delete_network("a", T)
    store.delete_machine("a", T)
    with pytest.raises(NotFound):
        store.network("a")
    with pytest.raises(NotFound):
        store.delete_machine("a", T)


def test_private_networks_get_distinct_prefixes_and_may_ask_for_the_same(store: Store) -> None:
    auto = [store.create_network(NetworkSpec(f"n{at}"), NONE, T).network.prefix for at in range(2)]
    asked = store.create_network(NetworkSpec("n2", prefix="10.2.0.0/16"), NONE, T).network.prefix
    again = store.create_network(NetworkSpec("n3", prefix="10.0.0.0/16"), NONE, T).network.prefix
    skipped = store.create_network(NetworkSpec("n4"), NONE, T).network.prefix
    assert [*auto, asked, again, skipped] == [
        "10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/16", "10.0.0.0/16", "10.3.0.0/16",
    ]  # fmt: skip
    store.delete_network("n0", T)
    # Another network still has that prefix.
    assert store.create_network(NetworkSpec("n5"), NONE, T).network.prefix == "10.4.0.0/16"


@pytest.mark.parametrize(
    "prefix", ["203.0.0.0/16", "198.51.0.0/16", "192.168.0.0/16", "240.1.0.0/16", "169.254.0.0/16", "0.0.0.0/16"]
)
def test_prefixes_that_overlap_the_appliance_s_own_are_refused(store: Store, prefix: str) -> None:
    with pytest.raises(InvalidArgument, match=r"network\.prefix"):
        store.create_network(NetworkSpec("n", prefix=prefix), NONE, T)


def test_machines_of_a_private_network_get_the_lowest_free_address(store: Store, clock: StoppedClock) -> None:
    store.create_network(NetworkSpec("n"), NONE, T)
    assert create(store, new("a", "n", 1))[0].machine.address == "10.0.0.2"
    assert create(store, new("b", "n", 2, address="10.0.0.4"))[0].machine.address == "10.0.0.4"
    assert create(store, new("c", "n", 3))[0].machine.address == "10.0.0.3"
    assert create(store, new("d", "n", 4))[0].machine.address == "10.0.0.5"
    transits = {view.machine.transit for view in store.list_machines("n", "", "", 10)}
    assert len(transits) == 4
    store.delete_machine("a", T)
    assert create(store, new("e", "n", 5))[0].machine.address == "10.0.0.6"
    assert "free again in 60 s" in refused(InUse, store, new("f", "n", 6, address="10.0.0.2"))
    clock.advance(60)
    assert create(store, new("f", "n", 6))[0].machine.address == "10.0.0.2"


def test_released_values_rest_also_across_a_restart(server: Database, store: Store, clock: StoppedClock) -> None:
    (before,) = create(store, new("a"))
    block = store.network("a").network.block
    store.delete_machine("a", T)
    with opened(server, clock) as other:
        (after,) = create(other, new("a"))
        assert after.machine.address != before.machine.address
        assert other.network("a").network.block != block
        other.delete_machine("a", T)
        clock.advance(60)
        (again,) = create(other, new("b"))
        assert again.machine.address == before.machine.address
        assert other.network("b").network.block == block


def test_a_private_network_s_released_addresses_rest_across_a_restart(
    server: Database, store: Store, clock: StoppedClock
) -> None:
    store.create_network(NetworkSpec("n"), NONE, T)
    create(store, new("a", "n", 1), new("b", "n", 2))
    store.delete_machine("a", T)
    with opened(server, clock) as other:
        assert create(other, new("c", "n", 3))[0].machine.address == "10.0.0.4"
    clock.advance(61)
    Housekeeping(store).once()
    assert create(store, new("d", "n", 4))[0].machine.address == "10.0.0.2"


def test_what_is_unique_in_a_network_is_refused_naming_its_owner(store: Store) -> None:
    store.create_network(NetworkSpec("n"), NONE, T)
    store.create_network(NetworkSpec("m"), NONE, T)
    create(store, new("a", "n", 1, address="10.0.0.9"))
    assert "machines/a" in refused(AlreadyExists, store, new("a", "n", 2))
    assert "mac_address" in refused(AlreadyExists, store, new("b", "n", 1, port="pb"))
    assert "hostname a" in refused(AlreadyExists, store, new("b", "n", 2, hostname="A"))
    assert "10.0.0.9" in refused(AlreadyExists, store, new("b", "n", 2, address="10.0.0.9"))
    assert "attachment a " in refused(AlreadyExists, store, new("b", "n", 2, port="a"))
    # All of it is free in another network, but for the port.
    assert "networks/n" in refused(AlreadyExists, store, new("b", "m", 1, port="a"))
    create(store, new("b", "m", 1, address="10.1.0.9", hostname="a"))


def test_a_vlan_belongs_to_one_network_and_may_be_shared_within_it(store: Store) -> None:
    store.create_network(NetworkSpec("n"), NONE, T)
    store.create_network(NetworkSpec("m"), NONE, T)
    trunk = AttachmentSpec("trunk", vlan=7)
    create(store, new("a", "n", 1, attachment=trunk), new("b", "n", 2, attachment=trunk))
    assert "networks/n" in refused(AlreadyExists, store, new("c", "m", 1, attachment=trunk))
    assert "networks/n" in refused(AlreadyExists, store, new("c", attachment=trunk))
    create(
        store,
        new("c", "m", 1, attachment=AttachmentSpec("trunk", vni=7)),
        new("d", "m", 2, attachment=AttachmentSpec("trunk")),
    )
    store.delete_machine("a", T)
    assert "networks/n" in refused(AlreadyExists, store, new("e", "m", 3, attachment=trunk))
    store.delete_machine("b", T)
    create(store, new("e", "m", 3, attachment=trunk))


def test_an_isolated_network_holds_one_machine(store: Store) -> None:
    network = store.create_network(NetworkSpec("n", "ISOLATED"), NONE, T).network
    (view,) = create(store, new("a", "n"))
    assert (view.machine.address, network.prefix) == ("172.16.0.2", "172.16.0.0/30")
    assert "machines/a" in refused(InUse, store, new("b", "n", 2))
    store.delete_machine("a", T)
    # The network was made by itself and keeps its address.
    assert create(store, new("b", "n", 2, address="172.16.0.2"))[0].machine.address == "172.16.0.2"
    with pytest.raises(InUse, match="machines/b"):
        store.delete_network("n", T)


def test_an_address_outside_the_network_is_refused(store: Store) -> None:
    store.create_network(NetworkSpec("n"), NONE, T)
    for address in ("10.0.0.1", "10.0.255.255", "10.1.0.2"):
        assert "10.0.0.2 to 10.0.255.254" in refused(InvalidArgument, store, new("a", "n", address=address))


def test_a_batch_is_all_or_none_and_names_the_request_at_fault(server: Database, store: Store) -> None:
    store.create_network(NetworkSpec("n"), NONE, T)
    before = server.dump()
    message = refused(AlreadyExists, store, new("a", "n", 1), new("b", "n", 2), new("c", "n", 1))
    assert message.startswith("requests[2]: mac_address")
    assert refused(AlreadyExists, store, new("a", "n", 1), new("a", "n", 2)).startswith("requests[1]: machines/a")
    assert refused(NotFound, store, new("a", "n", 1), new("b", "x", 2)).startswith("requests[1]: networks/x")
    with pytest.raises(InvalidArgument) as caught:
        create(store, new("a", "n", 1), new("B", "n", 2), new("c", "n", 3, address="1.1.1"))
    assert [v.field for v in caught.value.violations] == ["requests[1].machine_id", "requests[2].machine.address"]
    assert server.dump() == before


def test_a_batch_answers_in_order_and_asked_addresses_come_first(store: Store) -> None:
    store.create_network(NetworkSpec("n"), NONE, T)
    repeat = Idempotency(str(uuid.uuid4()), "d")
    requests = [new("b", "n", 1), new("c"), new("a", "n", 3, address="10.0.0.2"), new("d", "n", 4)]
    views = create(store, *requests, repeat=repeat)
    assert [view.machine.name for view in views] == ["b", "c", "a", "d"]
    assert [view.machine.address for view in views] == ["10.0.0.3", "172.16.0.2", "10.0.0.2", "10.0.0.4"]
    assert store.network("n").network.revision == store.network("n").network.created_at + 1
    again = create(store, *requests, repeat=repeat)
    assert [view.machine for view in again] == [view.machine for view in views]


def test_a_repeated_request_gets_the_first_answer(store: Store, clock: StoppedClock) -> None:
    repeat = Idempotency(str(uuid.uuid4()), "digest")
    first = store.create_network(NetworkSpec(), repeat, T)
    clock.advance(10)
    assert store.create_network(NetworkSpec(), repeat, T).network == first.network
    with pytest.raises(InvalidArgument, match="request_id"):
        store.create_network(NetworkSpec("other"), Idempotency(repeat.request_id, "another digest"), T)
    store.delete_network(first.network.name, T)
    with pytest.raises(NotFound, match="deleted since"):
        store.create_network(NetworkSpec(), repeat, T)
    # Another network of that name is not what this request made.
    clock.advance(1)
    store.create_network(NetworkSpec(first.network.name), NONE, T)
    with pytest.raises(NotFound, match="deleted since"):
        store.create_network(NetworkSpec(), repeat, T)
    clock.advance(86400)
    Housekeeping(store).once()
    assert store.create_network(NetworkSpec(), repeat, T).network.name != first.network.name


def test_an_empty_pool_is_named_with_its_size(server: Database, clock: StoppedClock) -> None:
    with opened(server, clock, isolated_pool=("172.31.0.0/29",), nat_pool=("198.51.100.9",)) as store:
        create(store, new("a"), new("b"))
        with pytest.raises(ResourceExhausted, match=r"isolated-prefix is empty: none of its 2") as caught:
            create(store, new("c"))
        assert caught.value.metadata == {"pool": "isolated-prefix", "size": "2"}
        store.delete_machine("a", T)
        assert "free in 60 s" in refused(ResourceExhausted, store, new("c"))
        clock.advance(60)
        assert create(store, new("c"))[0].machine.address == "172.31.0.2"
        for name in ("b", "c"):
            store.delete_machine(name, T)


def test_a_machine_changes_its_attachment_mac_and_hostname(store: Store) -> None:
    store.create_network(NetworkSpec("n"), NONE, T)
    create(store, new("a", "n", 1), new("b", "n", 2))
    revision = store.network("n").network.revision
    change = MachineUpdate(MAC.format(3).upper(), "Mail", AttachmentSpec("trunk", vlan=5))
    after = store.update_machine("a", change, T).machine
    assert (after.mac, after.hostname, str(after.attachment)) == (MAC.format(3), "mail", "trunk/vlan=5")
    assert store.network("n").network.revision == revision + 1
    assert store.update_machine("a", change, T).machine == after
    assert store.network("n").network.revision == revision + 1
    create(store, new("c", port="a"))
    with pytest.raises(AlreadyExists, match="networks/c"):
        store.update_machine("a", MachineUpdate(attachment=AttachmentSpec("a")), T)
    with pytest.raises(AlreadyExists, match="machines/b"):
        store.update_machine("a", MachineUpdate(mac=MAC.format(2)), T)
    with pytest.raises(NotFound):
        store.update_machine("z", MachineUpdate(mac=MAC.format(2)), T)
    assert store.update_machine("a", MachineUpdate(hostname=""), T).machine.hostname == "a"


def test_history_tells_who_had_a_port_and_when(store: Store, clock: StoppedClock) -> None:
    start = clock.moment
    store.create_network(NetworkSpec("n", tenant="t"), NONE, T)
    block = store.network("n").network.block
    assert store.translation(block.address, block.first - 1, None) is None
    clock.advance(10)
    store.delete_network("n", T)
    clock.advance(60)
    store.create_network(NetworkSpec("m"), NONE, T)
    assert store.network("m").network.block == block

    def who(seconds: float, port: int = block.last) -> str | None:
        held = store.translation(block.address, port, start + int(seconds * 1000))
        return None if held is None else held.network

    assert (who(-0.001), who(0), who(9.999), who(10), who(69.999), who(70)) == (None, "n", "n", None, None, "m")
    held = store.translation(block.address, block.first, start)
    assert held is not None
    assert (held.tenant, held.released_at, held.block) == ("t", start + 10_000, block)
    assert store.translation(block.address, block.first, None).network == "m"  # type: ignore[union-attr]
    clock.advance(86400 * 31)
    Housekeeping(store).once()
    assert who(5) is None
    assert who(100) == "m"


def test_statuses_follow_the_controller(server: Database, store: Store) -> None:
    controller = Controller(server)
    store.create_network(NetworkSpec("n"), NONE, T)
    create(store, new("a", "n", 1))

    def states() -> list[str]:
        views = [store.network("n"), *store.list_machines("n", "", "", 9)]
        return [view.status.state.value for view in views]

    assert states() == ["pending", "pending"]
    assert "controller" in store.network("n").status.detail
    controller.report("n", State.LIVE)
    wait_until(lambda: states() == ["live", "live"])
    create(store, new("b", "n", 2))
    # The first machine's flows are still there while the second's are not.
    assert states() == ["pending", "live", "pending"]
    controller.report("n", State.LIVE, machines={"b": "port b is not on the bridge"})
    wait_until(lambda: states() == ["live", "live", "error"])
    assert store.machine("b").status.detail == "port b is not on the bridge"
    store.update_machine("b", MachineUpdate(attachment=AttachmentSpec("other")), T)
    assert states() == ["pending", "live", "pending"]
    controller.report("n", State.ERROR, "no flow table 7")
    wait_until(lambda: states() == ["error"] * 3)
    store.delete_machine("a", T)
    store.delete_machine("b", T)
    store.delete_network("n", T)
    # What was said of the deleted network is not taken for the new one's status.
    store.clock.advance(1)  # type: ignore[attr-defined]
    store.create_network(NetworkSpec("n"), NONE, T)
    assert states() == ["pending"]
    controller.close()


def test_state_is_unchanged_by_errors(server: Database, store: Store) -> None:
    store.create_network(NetworkSpec("n"), NONE, T)
    create(store, new("a", "n", 1))
    before = server.dump()
    for request in (new("a"), new("n"), new("b", port="a"), new("b", "x"), new("B"), new("b", "n", 1)):
        with pytest.raises(RequestError):
            create(store, request)
    for command in (
        lambda: store.create_network(NetworkSpec("n"), NONE, T),
        lambda: store.delete_network("n", T),
        lambda: store.delete_network("x", T),
        lambda: store.delete_machine("x", T),
        lambda: store.update_machine("a", MachineUpdate(mac="x"), T),
    ):
        with pytest.raises(RequestError):
            command()
    assert server.dump() == before


def test_a_lost_answer_is_told_and_a_repeat_settles_it() -> None:
    with database() as server, opened(server) as store:
        server.freeze(True)
        repeat = Idempotency(str(uuid.uuid4()), "d")
        with pytest.raises(Unavailable, match="request_id"):
            store.create_network(NetworkSpec("n"), repeat, 0.2)
        with pytest.raises(Unavailable, match="unknown"):
            store.create_network(NetworkSpec("m"), NONE, 0.2)
        server.freeze(False)
        assert store.create_network(NetworkSpec("n"), repeat, T).network.name == "n"
        # The second was planned with the same values as the first and was refused for it.
        assert [view.network.name for view in store.list_networks("", "", 9)] == ["n"]


def test_a_restarted_database_is_found_again() -> None:
    with database() as server, opened(server) as store:
        create(store, new("a"))
        server.kill()
        wait_until(lambda: not store.client.connected.is_set())
        with pytest.raises(Unavailable, match="no answer"):
            store.delete_machine("a", 0.05)
        server.start()
        assert create(store, new("b"))[0].machine.address == "172.16.0.6"
        assert store.machine("a").machine.address == "172.16.0.2"


def test_settings_reach_the_database(server: Database, clock: StoppedClock) -> None:
    with opened(server, clock, domain="example") as store:
        housekeeping = Housekeeping(store)
        housekeeping.once()
        wait_until(lambda: store.cache.appliance is not None)
        housekeeping.once()
        assert '\\"example\\"' in server.dump("Appliance")
    with opened(server, clock, domain="other") as store:
        Housekeeping(store).once()
        assert '\\"other\\"' in server.dump("Appliance")
