"""Usage as the API and the command line give it out."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from agent.store import Store
from cli.main import run
from cli.usage import volume
from sluice.v1 import usage_pb2
from state.ovsdb import OvsdbClient
from state.usage import Baseline, Usage, usage_row
from tests.agents import Api, Database, machine, network, refusal, served
from tests.dummy_switch import wait_until

BASELINE = Baseline("boot", "10/2", 1, 2, 3, 7, 700)


@pytest.fixture
def api(store: Store) -> Iterator[Api]:
    with served(store) as made:
        made.networks.CreateNetwork(network("office"))
        made.networks.CreateNetwork(network("empty"))
        for number in (1, 2, 3):
            made.machines.CreateMachine(machine(f"pc{number}", "office", number))
        yield made


@pytest.fixture
def counted(server: Database, store: Store, api: Api) -> None:
    """The controller has counted for the office and for pc1."""
    office, pc1 = store.cache.networks["office"].uuid, store.cache.machines["pc1"].uuid
    values = [
        Usage(office, office, "networks/office", {"private_out_bytes": 1 << 50}, {}, 2_000),
        Usage(pc1, office, "machines/pc1", {"public_out_bytes": 1536, "public_in_packets": 2}, {7: BASELINE}, 1_000),
    ]
    client = OvsdbClient(server.socket)
    try:
        client.wait_connected(5)
        client.transact([{"op": "insert", "table": "Usage", "row": usage_row(value)} for value in values])
    finally:
        client.close()
    wait_until(lambda: len(store.cache.usages) == 2, what="usage read")


@pytest.mark.usefixtures("counted")
def test_usage_of_one(api: Api) -> None:
    found = api.usage.GetUsage(usage_pb2.GetUsageRequest(name="machines/pc1"))
    assert found.public == usage_pb2.Traffic(bytes_out=1536, packets_in=2)
    assert (found.name, found.update_time.ToMilliseconds()) == ("machines/pc1", 1_000)
    assert api.usage.GetUsage(usage_pb2.GetUsageRequest(name="networks/office")).private.bytes_out == 1 << 50


def test_nothing_counted_yet_is_zero_and_has_no_time(api: Api) -> None:
    found = api.usage.GetUsage(usage_pb2.GetUsageRequest(name="machines/pc2"))
    assert found == usage_pb2.Usage(name="machines/pc2", public={}, private={}, storage={}, vpn={}, interconnect={})


@pytest.mark.usefixtures("counted")
def test_lists_in_order_and_by_page(api: Api) -> None:
    found = api.usage.ListUsage(usage_pb2.ListUsageRequest())
    assert [(one.name, one.private.bytes_out) for one in found.usages] == [
        ("networks/empty", 0),
        ("networks/office", 1 << 50),
    ]
    first = api.usage.ListUsage(usage_pb2.ListUsageRequest(network="networks/office", page_size=2))
    assert [one.name for one in first.usages] == ["machines/pc1", "machines/pc2"]
    rest = usage_pb2.ListUsageRequest(network="networks/office", page_size=2, page_token=first.next_page_token)
    assert [one.name for one in api.usage.ListUsage(rest).usages] == ["machines/pc3"]


@pytest.mark.parametrize(
    ("name", "code"),
    [("machines/nobody", "NOT_FOUND"), ("networks/none", "NOT_FOUND"), ("", "INVALID_ARGUMENT"),
     ("drives/d", "INVALID_ARGUMENT")],
)  # fmt: skip
def test_refusals(api: Api, name: str, code: str) -> None:
    assert refusal(api.usage.GetUsage, usage_pb2.GetUsageRequest(name=name))[0] == code


def test_machines_of_a_network_that_is_not_there_and_foreign_tokens_are_refused(api: Api) -> None:
    missing = usage_pb2.ListUsageRequest(network="networks/none")
    assert refusal(api.usage.ListUsage, missing)[0] == "NOT_FOUND"
    page = api.usage.ListUsage(usage_pb2.ListUsageRequest(network="networks/office", page_size=1))
    foreign = usage_pb2.ListUsageRequest(page_token=page.next_page_token)
    assert refusal(api.usage.ListUsage, foreign)[0] == "INVALID_ARGUMENT"


@pytest.mark.usefixtures("counted")
def test_the_command_line(server: Database, capsys: pytest.CaptureFixture[str]) -> None:
    def say(*arguments: str, code: int = 0) -> str:
        assert run(["--api", f"unix:{server.directory}/agent.sock", "usage", *arguments]) == code
        return capsys.readouterr().out

    assert "1.0 PiB" in next(line for line in say().splitlines() if line.startswith("networks/office"))
    machines = say("--network", "office").splitlines()
    assert [line.split()[0] for line in machines[1:]] == ["machines/pc1", "machines/pc2", "machines/pc3"]
    assert "1.5 KiB" in machines[1]
    # A name alone is a network, else a machine; JSON is exact.
    assert "networks/office" in say("office")
    assert json.loads(say("pc1", "-o", "json"))["public"] == {
        "bytesOut": "1536", "packetsIn": "2", "bytesIn": "0", "packetsOut": "0",
    }  # fmt: skip
    say("nobody", code=1)
    say("office", "--network", "office", code=2)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_048_575, "1.0 MiB"), (1 << 62, "4.0 EiB")],
)
def test_volumes(count: int, text: str) -> None:
    assert volume(count) == text
