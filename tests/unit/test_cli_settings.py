"""sluicectl sets what a network's machines are told of names, and limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from fake_api import Done, FakeApi, command, fake_api, office, pc

Sluicectl = Callable[..., Done]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as served:
        served.networks["networks/office"] = office()
        served.machines["machines/pc1"] = pc(1)
        yield served


@pytest.fixture
def sluicectl(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> Sluicectl:
    return partial(command, api, capsys)


def test_a_network_is_given_servers_for_names_and_limits(api: FakeApi, sluicectl: Sluicectl) -> None:
    rules = ["--forward", "corp.example=192.168.50.10,192.168.50.11", "--forward", "lab=9.9.9.9"]
    done = sluicectl("networks", "set", "office", "--dns", "10.0.0.9", "--search-domain", "corp.example", *rules,
                     "--public-rate", "200000", "--storage-rate", "0")  # fmt: skip
    assert done.code == 0
    assert list(api.last().update_mask.paths) == [
        "dns_servers", "search_domain", "dns_forwarding", "limits.public_kbps", "limits.storage_kbps",
    ]  # fmt: skip
    network = api.networks["networks/office"]
    assert (network.dns_servers, network.search_domain) == (["10.0.0.9"], "corp.example")
    assert [(rule.domain, list(rule.servers)) for rule in network.dns_forwarding] == [
        ("corp.example", ["192.168.50.10", "192.168.50.11"]),
        ("lab", ["9.9.9.9"]),
    ]
    assert (network.limits.public_kbps, network.limits.storage_kbps) == (200_000, 0)
    shown = sluicectl("networks", "show", "office").out
    assert "corp.example=192.168.50.10,192.168.50.11; lab=9.9.9.9" in shown
    assert "200,000 kbit/s" in shown


def test_only_what_is_given_changes_and_an_empty_value_is_none(api: FakeApi, sluicectl: Sluicectl) -> None:
    network = api.networks["networks/office"]
    network.dns_servers[:] = ["10.0.0.9"]
    assert sluicectl("networks", "set", "office", "--forward", "").code == 0
    assert list(api.last().update_mask.paths) == ["dns_forwarding"]
    assert list(network.dns_servers) == ["10.0.0.9"]
    assert sluicectl("networks", "set", "office", "--dns", "").code == 0
    assert list(network.dns_servers) == []


def test_a_network_may_have_them_from_the_start(api: FakeApi, sluicectl: Sluicectl) -> None:
    wanted = ("--forward", "corp.example=9.9.9.9", "--public-rate", "1000")
    assert sluicectl("networks", "create", "lab", *wanted).code == 0
    made = api.last().network
    assert (made.dns_forwarding[0].domain, made.limits.public_kbps) == ("corp.example", 1000)


def test_a_machine_is_given_a_limit(api: FakeApi, sluicectl: Sluicectl) -> None:
    assert sluicectl("machines", "set", "pc1", "--public-rate", "5000").code == 0
    assert list(api.last().update_mask.paths) == ["limits.public_kbps"]
    assert "5,000 kbit/s" in sluicectl("machines", "show", "pc1").out


@pytest.mark.parametrize(
    "arguments", [(), ("--forward", "corp.example"), ("--forward", "=9.9.9.9"), ("--public-rate", "fast")]
)
def test_what_is_wrong_asks_nobody(api: FakeApi, sluicectl: Sluicectl, arguments: tuple[str, ...]) -> None:
    assert (sluicectl("networks", "set", "office", *arguments).code, api.requests) == (2, [])
