"""Machines of a file on an agent: what `machines list -o json` wrote is there again, public addresses included."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_api import Sluicectl

from agent.store import Store
from cli.import_file import COLUMNS
from sluice.v1 import machine_pb2 as machines
from tests.agents import Api, Database, StoppedClock, machine, network, opened, public_address, refusal, served


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def store(server: Database, clock: StoppedClock) -> Iterator[Store]:
    with opened(server, clock) as made:
        yield made


@pytest.fixture
def api(store: Store) -> Iterator[Api]:
    """An office of ada's with the machines `pc1` and `pc2` and the addresses `www`, of `pc1`, and `spare`."""
    with served(store) as made:
        made.networks.CreateNetwork(network("office", tenant="ada"))
        for number, name in enumerate(("pc1", "pc2"), 1):
            made.machines.CreateMachine(machine(name, "office", number))
        made.public_addresses.CreatePublicAddress(public_address("www", machine="pc1", tenant="ada"))
        made.public_addresses.CreatePublicAddress(public_address("spare"))
        yield made


@pytest.fixture
def sluicectl(api: Api, agent_cli: Sluicectl) -> Sluicectl:
    return agent_cli


def _lasting(listed: Any) -> Any:
    """Machines without when they were made and how far they are."""
    return [{field: one[field] for field in one if field not in ("createTime", "status")} for one in listed]


def _as_csv(listed: Any, file: Path) -> None:
    with file.open("w", newline="") as written:
        table = csv.DictWriter(written, [*COLUMNS])
        table.writeheader()
        for one in listed:
            table.writerow({
                "name": one["name"], "network": one["network"], "mac_address": one["macAddress"],
                "address": one["address"], "hostname": one["hostname"], "port": one["attachment"]["port"],
                "tenant": one["tenant"], "public_address": one["publicAddress"],
            })  # fmt: skip


@pytest.mark.parametrize("form", ["json", "csv"])
def test_exported_deleted_and_imported_machines_are_the_same(
    sluicectl: Sluicectl, clock: StoppedClock, tmp_path: Path, form: str
) -> None:
    before = sluicectl("machines", "list", "-o", "json").json()
    assert [one["publicAddress"] for one in before] == ["publicAddresses/www", ""]
    file = tmp_path / f"machines.{form}"
    if form == "json":
        file.write_text(json.dumps(before))
    else:
        _as_csv(before, file)
    assert sluicectl("machines", "delete", "pc1", "pc2").code == 0
    # Released addresses rest.
    clock.advance(600)
    assert sluicectl("machines", "create", "--file", str(file)).code == 0
    assert _lasting(sluicectl("machines", "list", "-o", "json").json()) == _lasting(before)
    assert sluicectl("addresses", "show", "www", "-o", "json").json()["machine"] == "machines/pc1"


HEADER = "name,network,mac_address,port,public_address\n"


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("a,office,02:00:00:00:00:0a,p1,nosuch", "NOT_FOUND", "publicAddresses/nosuch does not exist"),
        ("a,office,02:00:00:00:00:0a,p1,www", "FAILED_PRECONDITION", "publicAddresses/www stands for machines/pc1"),
        ("a,lab,02:00:00:00:00:0a,p1,own", "FAILED_PRECONDITION", "publicAddresses/own is of tenant 'ada'"),
        ("a,office,02:00:00:00:00:0a,p1,UP", "INVALID_ARGUMENT", "public_address is 'publicAddresses/UP'"),
        ("a,office,02:00:00:00:00:0a,p1,spare", "FAILED_PRECONDITION", "publicAddresses/spare stands for machines/b"),
    ],
    ids=["missing", "in use", "another tenant's", "no name", "twice in the file"],
)
def test_a_public_address_that_cannot_be_given_is_refused_with_file_and_line_and_nothing_is_made(
    sluicectl: Sluicectl, api: Api, tmp_path: Path, line: str, code: str, said: str
) -> None:
    api.networks.CreateNetwork(network("lab", tenant="bob"))
    api.public_addresses.CreatePublicAddress(public_address("own", tenant="ada"))
    file = tmp_path / "machines.csv"
    file.write_text(HEADER + "b,office,02:00:00:00:00:0b,p2,spare\n" + line + "\n")
    done = sluicectl("machines", "create", "--file", str(file))
    assert done.code == 1
    assert f"{file}, line 3: {said}" in done.err
    assert f"({code})" in done.err
    assert [one["name"] for one in sluicectl("machines", "list", "-o", "json").json()] == [
        "machines/pc1", "machines/pc2",
    ]  # fmt: skip
    assert sluicectl("addresses", "show", "spare", "-o", "json").json()["machine"] == ""


def test_a_machine_with_a_network_of_its_own_is_given_a_public_address(sluicectl: Sluicectl, store: Store) -> None:
    made = sluicectl("machines", "create", "web", "--mac", "02:00:00:00:00:0c", "--port", "p3", "--tenant", "bob",
                     "--public-address", "spare", "-o", "json")  # fmt: skip
    assert made.json()["publicAddress"] == "publicAddresses/spare"
    record = store.cache.machines["web"].machine
    assert (record.public, record.public_zone) == ("203.0.113.97", 3)
    assert sluicectl("machines", "delete", "web").code == 0
    assert sluicectl("addresses", "show", "spare", "-o", "json").json()["machine"] == ""


def test_a_machine_written_back_as_read_keeps_its_public_address_and_cannot_change_it(api: Api) -> None:
    present = api.machines.GetMachine(machines.GetMachineRequest(name="machines/pc1"))
    assert api.machines.UpdateMachine(machines.UpdateMachineRequest(machine=present)) == present
    present.public_address = "publicAddresses/spare"
    code, message, _ = refusal(api.machines.UpdateMachine, machines.UpdateMachineRequest(machine=present))
    assert (code, "machine.public_address" in message) == ("INVALID_ARGUMENT", True)
