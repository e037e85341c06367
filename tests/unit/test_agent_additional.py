"""Additional addresses over gRPC: who may list which, what each is given, and what is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from agent.store import Store
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import network_pb2 as networks
from tests.agents import Api, Database, StoppedClock, machine, network, opened, refusal, served
from tests.dummy_switch import SLUICE_SCHEMA

VIRTUAL, VRRP_MAC = "10.1.0.9", "00:00:5e:00:01:33"
FIELD = "machine.attachment.additional_addresses"
REST = 60


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def store(server: Database, clock: StoppedClock) -> Iterator[Store]:
    with opened(server, clock, reuse_after_seconds=REST) as made:
        yield made


@pytest.fixture
def api(store: Store) -> Iterator[Api]:
    with served(store) as made:
        made.networks.CreateNetwork(network("office", prefix="10.1.0.0/16"))
        yield made


def listing(*given: str) -> list[machines.AdditionalAddress]:
    """`IP` or `IP,MAC`."""
    return [machines.AdditionalAddress(address=a, mac_address=m) for a, _, m in (one.partition(",") for one in given)]


def lister(name: str, number: int, *given: str, of: str = "office", **fields: Any) -> machines.CreateMachineRequest:
    place = machines.Attachment(port=name, additional_addresses=listing(*given))
    return machine(name, of, number, attachment=place, **fields)


def change(api: Api, name: str, *given: str) -> machines.Machine:
    return api.machines.UpdateMachine(changed(name, *given))


def changed(name: str, *given: str) -> machines.UpdateMachineRequest:
    wanted = machines.Machine(
        name=f"machines/{name}", attachment=machines.Attachment(additional_addresses=listing(*given))
    )
    mask = FieldMask(paths=["attachment.additional_addresses"])
    return machines.UpdateMachineRequest(machine=wanted, update_mask=mask)


def delete(api: Api, name: str) -> None:
    api.machines.DeleteMachine(machines.DeleteMachineRequest(name=f"machines/{name}"))


def rows(server: Database) -> list[Any]:
    return list(json.loads(server.dump("Additional_Address"))["data"])


def test_machines_that_list_an_address_share_what_it_is_given(api: Api, store: Store, server: Database) -> None:
    made = api.machines.CreateMachine(lister("lb1", 1, f"{VIRTUAL},{VRRP_MAC.upper()}", "10.1.0.8"))
    assert [(one.address, one.mac_address) for one in made.attachment.additional_addresses] == [
        ("10.1.0.8", ""), (VIRTUAL, VRRP_MAC),
    ]  # fmt: skip
    first = rows(server)
    api.machines.CreateMachine(lister("lb2", 2, VIRTUAL))
    assert rows(server) == first
    record = store.cache.networks["office"]
    numbers = {one.machine.number for one in record.machines.values()}
    own = {one.value.number for one in record.additional.values()}
    assert len(own) == 2
    assert not own & numbers
    transit = record.additional[VIRTUAL].value.transit
    assert transit not in {one.machine.transit for one in record.machines.values()}
    delete(api, "lb1")
    assert [row for row in rows(server) if VIRTUAL in row]
    assert not [row for row in rows(server) if "10.1.0.8" in row]
    delete(api, "lb2")
    assert rows(server) == []
    assert ("transit", transit) not in store.cache.allocations.claims


def test_the_list_is_changed_by_itself_and_stays_otherwise(api: Api, server: Database, clock: StoppedClock) -> None:
    api.machines.CreateMachine(lister("lb1", 1))
    assert change(api, "lb1", VIRTUAL).attachment.port == "lb1"
    moved = machines.Machine(name="machines/lb1", attachment=machines.Attachment(port="other", vlan=7))
    mask = FieldMask(paths=["attachment.port", "attachment.vlan", "attachment.vni"])
    after = api.machines.UpdateMachine(machines.UpdateMachineRequest(machine=moved, update_mask=mask)).attachment
    assert (after.port, after.vlan, len(after.additional_addresses)) == ("other", 7, 1)
    assert len(change(api, "lb1", "10.1.0.7", VIRTUAL).attachment.additional_addresses) == 2
    assert not change(api, "lb1").attachment.additional_addresses
    assert rows(server) == []
    clock.advance(1)
    change(api, "lb1", VIRTUAL)
    whole = machines.UpdateMachineRequest(machine=moved, update_mask=FieldMask(paths=["attachment"]))
    assert not api.machines.UpdateMachine(whole).attachment.additional_addresses


def test_no_machine_is_given_an_address_that_is_listed(api: Api, clock: StoppedClock) -> None:
    api.machines.CreateMachine(lister("lb1", 1, "10.1.0.3", address="10.1.0.2"))
    assert api.machines.CreateMachine(machine("a", "office", 2)).address == "10.1.0.4"
    code, message, _ = refusal(api.machines.CreateMachine, machine("b", "office", 3, address="10.1.0.3"))
    expected = "address 10.1.0.3 is an additional address of machines/lb1 in networks/office"
    assert (code, message) == ("ALREADY_EXISTS", expected)
    # After its end it rests as a machine's address does, and may be listed all the same.
    change(api, "lb1")
    assert api.machines.CreateMachine(machine("c", "office", 4)).address == "10.1.0.5"
    change(api, "lb1", "10.1.0.3")
    clock.advance(REST + 1)
    assert api.machines.CreateMachine(machine("d", "office", 5)).address == "10.1.0.6"
    change(api, "lb1")
    clock.advance(REST + 1)
    assert api.machines.CreateMachine(machine("e", "office", 6)).address == "10.1.0.3"


def test_a_restarted_agent_does_not_give_it_either(api: Api, server: Database) -> None:
    api.machines.CreateMachine(lister("lb1", 1, "10.1.0.3"))
    with opened(server) as second, served(second) as other:
        assert other.machines.CreateMachine(machine("a", "office", 2)).address == "10.1.0.4"


def test_within_one_batch(api: Api) -> None:
    batch = machines.BatchCreateMachinesRequest
    requests = [machine("a", "office", 1), lister("lb1", 2, "10.1.0.2"), lister("", 3, "10.1.0.2", "10.1.0.3")]
    requests[2].machine.attachment.port = "p3"
    made = api.machines.BatchCreateMachines(batch(requests=requests)).machines
    assert [one.address for one in made] == ["10.1.0.4", "10.1.0.5", "10.1.0.6"]
    for requests, said in (
        (
            [lister("x", 5, "10.1.0.9"), machine("y", "office", 6, address="10.1.0.9")],
            "additional address of machines/x",
        ),
        ([lister("x", 5, f"10.1.0.9,{VRRP_MAC}"), machine("y", "office", 6, mac_address=VRRP_MAC)], VRRP_MAC),
        ([machine("y", "office", 6, mac_address=VRRP_MAC), lister("x", 5, f"10.1.0.9,{VRRP_MAC}")], VRRP_MAC),
    ):
        code, message, _ = refusal(api.machines.BatchCreateMachines, batch(requests=requests))
        assert (code in ("ALREADY_EXISTS", "INVALID_ARGUMENT"), said in message) == (True, True), message


def test_refusals_change_nothing(api: Api, server: Database) -> None:
    api.machines.CreateMachine(lister("lb1", 1, f"{VIRTUAL},{VRRP_MAC}", address="10.1.0.2"))
    api.machines.CreateMachine(machine("a", "office", 2, address="10.1.0.3"))
    api.networks.CreateNetwork(network("lone", kind=networks.Network.ISOLATED))
    before = server.dump()
    for given, field, said in (
        ("", "[0].address", "''; allowed: an IPv4 address of the network, each only once"),
        ("10.1.0", "[0].address", "'10.1.0'; allowed: an IPv4 address"),
        ("10.2.0.9", "[0].address", "'10.2.0.9'; allowed: 10.1.0.2 to 10.1.255.254"),
        ("10.1.0.1", "[0].address", "'10.1.0.1'; allowed: 10.1.0.2 to 10.1.255.254"),
        ("10.1.255.255", "[0].address", "allowed: 10.1.0.2 to 10.1.255.254"),
        ("10.1.0.2", "[0].address", "machines/lb1 has it"),
        ("10.1.0.3", "[0].address", "machines/a has it"),
        ("10.1.0.9,01:00:5e:00:00:01", "[0].mac_address", "a unicast Ethernet address"),
        ("10.1.0.9,nonsense", "[0].mac_address", "'nonsense'; allowed: a unicast Ethernet address"),
        ("10.1.0.9,02:00:00:00:ff:01", "[0].mac_address", "an address other than the appliance's own"),
        ("10.1.0.9,02:00:00:00:00:01", "[0].mac_address", "machines/lb1 has it"),
        ("10.1.0.9,02:00:00:00:00:02", "[0].mac_address", "machines/a has it"),
    ):  # fmt: skip
        code, message, details = refusal(api.machines.UpdateMachine, changed("lb1", given))
        assert (code, said in message) == ("INVALID_ARGUMENT", True), message
        assert details["BadRequest"].field_violations[0].field == FIELD + field
    api.machines.CreateMachine(lister("lb2", 4, VIRTUAL, address="10.1.0.5"))
    before = server.dump()
    for given_list, said in (
        ((VIRTUAL, VIRTUAL), f"{FIELD}[1].address is '{VIRTUAL}'"),
        ((f"{VIRTUAL},00:00:5e:00:01:44",), f"allowed: {VRRP_MAC}, which machines/lb1 has for it, or none"),
        (tuple(f"10.1.1.{n}" for n in range(17)), f"{FIELD} is 17; allowed: at most 16"),
    ):
        assert said in refusal(api.machines.UpdateMachine, changed("lb2", *given_list))[1]
    assert server.dump() == before
    for request, code, said in (
        (lister("new", 5, VIRTUAL, of=""), "INVALID_ARGUMENT", "none for a machine without a network"),
        (lister("new", 5, "172.16.0.2", of="lone"), "INVALID_ARGUMENT", "none in an ISOLATED network"),
        (lister("new", 5, "10.1.0.7", address="10.1.0.7"), "INVALID_ARGUMENT", "other than the machine's own"),
        (machine("new", "office", 5, mac_address=VRRP_MAC), "ALREADY_EXISTS", f"mac_address {VRRP_MAC} is that of an"),
        (machine("new", "office", 5, address=VIRTUAL), "ALREADY_EXISTS", f"address {VIRTUAL} is an additional"),
    ):
        found, message, _ = refusal(api.machines.CreateMachine, request)
        assert (found, said in message) == (code, True), message
    renamed = machines.Machine(name="machines/a", mac_address=VRRP_MAC)
    code, message, _ = refusal(api.machines.UpdateMachine, machines.UpdateMachineRequest(machine=renamed))
    assert (code, "additional address of machines/lb1" in message) == ("ALREADY_EXISTS", True)
    assert server.dump() == before


def test_networks_do_not_know_each_other(api: Api, store: Store) -> None:
    api.networks.CreateNetwork(network("other", prefix="10.1.0.0/16"))
    for name, of in (("lb1", "office"), ("lb2", "other")):
        api.machines.CreateMachine(lister(name, 1, f"{VIRTUAL},{VRRP_MAC}", of=of))
    api.machines.CreateMachine(machine("a", "other", 2, address="10.1.0.8"))
    change(api, "lb1", "10.1.0.8")
    values = [store.cache.networks[of].additional for of in ("office", "other")]
    assert set(values[0]) == {"10.1.0.8"}
    assert set(values[1]) == {VIRTUAL}
    found = [one.value for value in values for one in value.values()]
    assert len({one.transit for one in found} | {one.number for one in found}) == 4


def test_two_agents_make_one_of_it(api: Api, server: Database, clock: StoppedClock) -> None:
    with opened(server, clock) as second, served(second) as other:
        api.machines.CreateMachine(lister("lb1", 1, VIRTUAL))
        other.machines.CreateMachine(lister("lb2", 2, VIRTUAL))
        other.machines.CreateMachine(machine("a", "office", 3))
        api.machines.CreateMachine(machine("b", "office", 4))
        assert len(rows(server)) == 1


def test_a_database_of_the_version_before_is_converted(tmp_path: Path) -> None:
    schema = json.loads(Path(SLUICE_SCHEMA).read_text())
    schema["version"] = "1.4.0"
    del schema["tables"]["Additional_Address"], schema["tables"]["Machine"]["columns"]["additional_addresses"]
    old, file = tmp_path / "old.ovsschema", tmp_path / "sluice.db"
    old.write_text(json.dumps(schema))
    prepare = Path(__file__).resolve().parents[2] / "deploy" / "prepare-database"
    subprocess.run([prepare, file, old], check=True)
    made = {
        "name": "office", "kind": "private", "key": 3, "prefix": "10.1.0.0/16", "block_first": 1024, "block_last": 2047,
        "block_address": "198.51.100.1", "mtu": 1500,
    }  # fmt: skip
    web = {
        "name": "web",
        "network": ["named-uuid", "n"],
        "number": 1,
        "mac": "02:00:00:00:00:01",
        "address": "10.1.0.2",
    }
    operations = [
        {"op": "insert", "table": "Network", "row": made, "uuid-name": "n"},
        {"op": "insert", "table": "Machine", "row": web},
    ]
    subprocess.run(["ovsdb-tool", "transact", file, json.dumps(["Sluice", *operations])], check=True)
    subprocess.run([prepare, file, SLUICE_SCHEMA], check=True)
    query = [{"op": "select", "table": "Machine", "where": [], "columns": ["name", "additional_addresses"]}]
    done = subprocess.run(
        ["ovsdb-tool", "query", file, json.dumps(["Sluice", *query])], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)[0]["rows"] == [{"name": "web", "additional_addresses": ["map", []]}]
