"""What an interconnect may be made of, field by field, and every mistake at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from agent.requests import InterconnectSpec, InterconnectUpdate
from agent.validation.interconnects import announced, autonomous_systems, link, new_interconnect, password
from agent.validation.prefixes import prefixes

FINE = InterconnectSpec(
    "dc", "DIRECT_CONNECT", "networks/office", "xc1", 101, "169.254.101.1/30", "169.254.101.2", 64512, 65001,
    accept=("192.168.0.0/16",),
)  # fmt: skip
PEERING = replace(FINE, kind="PEERING", network="", accept=())


def fields(request: InterconnectSpec) -> list[str]:
    return [violation.field.removeprefix("interconnect.") for violation in new_interconnect(request, ["uplink"])]


def test_plain_ones() -> None:
    assert fields(FINE) == fields(PEERING) == []


def test_every_mistake_at_once() -> None:
    wrong = InterconnectSpec(
        "DC", "BOTH", "office", "a port too long!", 4095, "169.254.101.1", "peer", 23456, 0, "with space",
        ("10.0.0.1/8",), ("10.0.0.0", "10.0.0.0/16", "10.0.0.0/16"), 20001, 65536, 1, False, 49, 2,
    )  # fmt: skip
    assert fields(wrong) == [
        "interconnect_id",
        "kind",
        "port",
        "vlan",
        "local_address",
        "peer_address",
        "local_as",
        "peer_as",
        "password",
        "accept_prefixes[0]",
        "announce_prefixes[0]",
        "announce_prefixes[2]",
        "maximum_prefixes",
        "preference",
        "rate_kbps",
        "bfd_interval_milliseconds",
        "hold_seconds",
    ]


def test_each_mistake_names_field_value_and_what_is_allowed() -> None:
    wrong = replace(FINE, port="uplink", vlan=-1, peer_as=64512, maximum_prefixes=-1, hold_seconds=3601)
    for violation in new_interconnect(wrong, ["uplink"]):
        assert violation.description.startswith(f"{violation.field} is ")
        assert "; allowed: " in violation.description


def test_kinds_and_their_networks() -> None:
    assert fields(replace(FINE, network="")) == ["network"]
    assert fields(replace(FINE, network="machines/a")) == ["network"]
    assert fields(replace(PEERING, network="networks/office")) == ["network"]
    assert fields(replace(FINE, kind="KIND_UNSPECIFIED")) == ["kind"]
    assert fields(replace(PEERING, kind="KIND_UNSPECIFIED")) == ["kind", "accept_prefixes"]
    assert fields(replace(FINE, accept=())) == ["accept_prefixes"]


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [
        ("vlan", 1, 4094),
        ("maximum_prefixes", 1, 20000),
        ("preference", 1, 65535),
        ("rate", 64, 100_000_000),
        ("bfd_milliseconds", 50, 10000),
        ("hold_seconds", 3, 3600),
    ],
)
def test_limits_of_numbers(field: str, least: int, most: int) -> None:
    def made(value: int) -> list[str]:
        changed: dict[str, Any] = {field: value}
        return fields(replace(FINE, **changed))

    for value in (0, least, most):
        assert made(value) == []
    for value in ({-1, least - 1} - {0}) | {most + 1}:
        assert len(made(value)) == 1


@pytest.mark.parametrize(
    ("local", "peer"),
    [
        ("169.254.101.1/30", "169.254.101.2"),
        ("10.0.0.0/31", "10.0.0.1"),
        ("10.0.0.1/31", "10.0.0.0"),
        ("192.0.2.254/24", "192.0.2.1"),
        ("203.0.113.9/29", "203.0.113.14"),
    ],
)
def test_links(local: str, peer: str) -> None:
    assert not list(link(local, peer))


@pytest.mark.parametrize(
    ("local", "peer", "wrong"),
    [
        ("169.254.101.1", "169.254.101.2", "local_address"),
        ("169.254.101.1/23", "169.254.101.2", "local_address"),
        ("169.254.101.1/32", "169.254.101.2", "local_address"),
        ("169.254.101.1/255.255.255.252", "169.254.101.2", "local_address"),
        ("169.254.101.0/30", "169.254.101.2", "local_address"),
        ("169.254.101.3/30", "169.254.101.2", "local_address"),
        ("169.254.101.01/30", "169.254.101.2", "local_address"),
        ("2001:db8::1/30", "169.254.101.2", "local_address"),
        ("", "169.254.101.2", "local_address"),
        ("127.0.0.1/30", "127.0.0.2", "local_address"),
        ("0.0.0.1/30", "0.0.0.2", "local_address"),
        ("224.0.0.1/30", "224.0.0.2", "local_address"),
        ("255.255.255.254/31", "255.255.255.255", "local_address"),
        ("169.254.101.1/30", "169.254.101.1", "peer_address"),
        ("169.254.101.1/30", "169.254.101.0", "peer_address"),
        ("169.254.101.1/30", "169.254.101.3", "peer_address"),
        ("169.254.101.1/30", "169.254.101.5", "peer_address"),
        ("169.254.101.1/30", "169.254.101.2/30", "peer_address"),
        ("169.254.101.1/30", "router.example.com", "peer_address"),
        ("169.254.101.1/30", "", "peer_address"),
        ("10.0.0.0/31", "10.0.0.2", "peer_address"),
    ],
)
def test_links_that_are_none(local: str, peer: str, wrong: str) -> None:
    (violation,) = link(local, peer)
    assert violation.field == f"interconnect.{wrong}"


@pytest.mark.parametrize("number", [1, 23455, 23457, 64512, 65534, 65536, 4294967294])
def test_as_numbers(number: int) -> None:
    assert not list(autonomous_systems(number, 65001))
    assert not list(autonomous_systems(65001, number))


@pytest.mark.parametrize("number", [-1, 0, 23456, 65535, 4294967295, 2**40])
def test_as_numbers_that_nobody_has(number: int) -> None:
    assert [v.field for v in autonomous_systems(number, 65001)] == ["interconnect.local_as"]
    (violation,) = autonomous_systems(65001, number)
    assert violation.field == "interconnect.peer_as"
    assert str(number) in violation.description


def test_both_ends_are_in_different_systems() -> None:
    (violation,) = autonomous_systems(65001, 65001)
    assert violation.field == "interconnect.peer_as"


@pytest.mark.parametrize("value", ["", "x", "y" * 80, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"])
def test_passwords(value: str) -> None:
    assert not list(password("password", value))


@pytest.mark.parametrize("value", ["z" * 81, "two words", " ", "tab\there", "line\nbreak", "nul\0byte", "pässword"])
def test_passwords_that_are_none(value: str) -> None:
    (violation,) = password("password", value)
    assert violation.field == "password"
    assert f" {len(value)} characters" in violation.description
    assert value == " " or value not in violation.description


@pytest.mark.parametrize(
    ("values", "longest", "wrong"),
    [
        (["10.0.0.0/8", "192.168.1.1/32"], 32, []),
        (["10.0.0.0/8", "192.168.1.0/25"], 24, ["p[1]"]),
        ([f"10.{at}.0.0/16" for at in range(64)], 32, []),
        ([f"10.{at}.0.0/16" for at in range(65)], 32, ["p"]),
        (["0.0.0.0/0", "10.0.0.0/7"], 32, ["p[0]", "p[1]"]),
        (["10.0.0.0/8", "10.1.0.0/16"], 32, ["p[1]"]),
        (["10.0.0.0/8", "10.0.0.0/8"], 32, ["p[1]"]),
        (["10.0.0.1/8", "10.0.0.0", "", "::/8"], 32, ["p[0]", "p[1]", "p[2]", "p[3]"]),
    ],
)
def test_accepted_prefixes(values: Sequence[str], longest: int, wrong: Sequence[str]) -> None:
    assert [violation.field for violation in prefixes("p", values, least=0, most=64, longest=longest)] == wrong


def test_what_a_peering_accepts_is_24_bits_at_most() -> None:
    assert fields(replace(PEERING, accept=("8.8.8.0/24",))) == []
    assert fields(replace(PEERING, accept=("8.8.8.0/25",))) == ["accept_prefixes[0]"]
    assert fields(replace(FINE, accept=("8.8.8.0/25",))) == []


def test_announced_prefixes() -> None:
    assert not list(announced("p", ["10.0.0.0/16", "10.0.0.0/24", "10.0.0.1/32"]))
    assert not list(announced("p", [f"10.0.{at}.0/24" for at in range(64)]))
    assert [v.field for v in announced("p", [f"10.0.{at}.0/24" for at in range(65)])] == ["p"]
    assert [v.field for v in announced("p", ["10.0.0.0/24", "10.0.0.0/24", "x"])] == ["p[1]", "p[2]"]


def test_a_password_is_in_no_text_of_a_request() -> None:
    for request in (replace(FINE, password="hunter2"), InterconnectUpdate(password="hunter2")):
        assert "hunter2" not in repr(request)
