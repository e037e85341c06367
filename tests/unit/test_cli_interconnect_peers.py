"""sluicectl interconnects config: the other side's configuration, word by word, and what is refused.

`SLUICE_UPDATE_GOLDEN=1` writes the texts in tests/unit/bgp_peers anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from fake_api import Done, FakeApi, command, fake_api, office
from fake_interconnects import cross, exchange

from cli.interconnect.peer_config import PASSWORD_PLACEHOLDER
from sluice.v1 import drive_pb2
from sluice.v1 import interconnect_pb2 as pb

Sluicectl = Callable[..., Done]
GOLDEN = Path(__file__).parent / "bgp_peers"
UPDATE = bool(os.environ.get("SLUICE_UPDATE_GOLDEN"))
ROUTERS = ("frr", "cisco-ios", "junos")
CASES: dict[str, Callable[[], pb.Interconnect]] = {
    "direct": cross,
    "wide": lambda: cross(
        vlan=0, accept_prefixes=["10.0.0.0/8", "192.168.7.1/32"], announce_prefixes=["10.0.1.0/24"],
        has_password=False, disable_bfd=True, hold_seconds=90,
    ),
    "peering": exchange,
    "peering-lists": lambda: exchange(
        accept_prefixes=["198.51.100.0/24", "192.88.0.0/16"], announce_prefixes=["203.0.113.64/28"], vlan=7,
        bfd_interval_milliseconds=5000, has_password=True,
    ),
}  # fmt: skip


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as served:
        served.networks["networks/office"] = office()
        addresses = {"networks/office": ("10.250.0.30", "10.250.0.4", "10.250.0.200"), "networks/lab": ("10.250.0.9",)}
        served.drives = [
            drive_pb2.Drive(name=f"drives/d{address}", network=network, address=address)
            for network, of in addresses.items()
            for address in of
        ]
        yield served


@pytest.fixture
def sluicectl(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> Sluicectl:
    return partial(command, api, capsys)


@pytest.fixture
def configured(api: FakeApi, sluicectl: Sluicectl) -> Callable[..., Done]:
    """What `config` does for a kind of router and an interconnect."""

    def call(kind: str, interconnect: pb.Interconnect) -> Done:
        api.interconnects[interconnect.name] = interconnect
        return sluicectl("interconnects", "config", interconnect.name, "--for", kind)

    return call


@pytest.mark.parametrize(("kind", "case"), [*((kind, case) for kind in ROUTERS for case in CASES), ("aws", "direct")])
def test_the_configuration_is_the_golden_one(configured: Callable[..., Done], kind: str, case: str) -> None:
    done = configured(kind, CASES[case]())
    assert (done.code, done.err) == (0, "")
    file = GOLDEN / f"{kind}-{case}.txt"
    if UPDATE:
        file.parent.mkdir(exist_ok=True)
        file.write_text(done.out)
    assert done.out == file.read_text()


@pytest.mark.parametrize("case", CASES)
def test_frr_takes_every_line(configured: Callable[..., Done], tmp_path: Path, case: str) -> None:
    text = configured("frr", CASES[case]()).out
    assert checked_by_frr(tmp_path, text) == ""
    assert "Unknown command" in checked_by_frr(tmp_path, text.replace("remote-as", "remote-an"))


def checked_by_frr(directory: Path, text: str) -> str:
    """What FRR's own shell has against a configuration."""
    (directory / "vtysh.conf").write_text("")
    (directory / "new.conf").write_text(text)
    shell = ["vtysh", "--config_dir", directory, "--dryrun", "-f", directory / "new.conf"]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=20)
    return done.stdout + done.stderr


@pytest.mark.parametrize("kind", [*ROUTERS, "aws"])
def test_the_password_has_a_placeholder(configured: Callable[..., Done], kind: str) -> None:
    # Were the API to answer with the password, it would still not be written.
    text = configured(kind, cross(password="horse")).out
    assert "horse" not in text
    assert text.count(PASSWORD_PLACEHOLDER) == 2


@pytest.mark.parametrize("kind", ROUTERS)
def test_without_a_password_there_is_nothing_to_fill_in(configured: Callable[..., Done], kind: str) -> None:
    text = configured(kind, cross(has_password=False)).out
    assert PASSWORD_PLACEHOLDER not in text
    assert "authentication-key" not in text


@pytest.mark.parametrize("kind", [*ROUTERS, "aws"])
def test_json_carries_the_same_text(configured: Callable[..., Done], sluicectl: Sluicectl, kind: str) -> None:
    text = configured(kind, cross()).out
    answer = sluicectl("interconnects", "config", "cross", "--for", kind, "-o", "json").json()
    assert answer == {"interconnect": "interconnects/cross", "for": kind, "configuration": text}


def let_through(text: str, prefix: str) -> bool:
    """Whether the outgoing list in a configuration of FRR or IOS permits a prefix."""
    wanted = IPv4Network(prefix)
    for action, listed, longest in re.findall(r"-OUT seq \d+ (\w+) (\S+)(?: le (\d+))?$", text, re.MULTILINE):
        entry = IPv4Network(listed)
        if wanted.subnet_of(entry) and wanted.prefixlen <= int(longest or entry.prefixlen):
            return bool(action == "permit")
    return False


@pytest.mark.parametrize("kind", ["frr", "cisco-ios"])
def test_only_what_is_accepted_passes_to_the_appliance(configured: Callable[..., Done], kind: str) -> None:
    text = configured(kind, CASES["wide"]()).out
    for prefix in ("10.0.0.0/8", "10.9.0.0/16", "10.200.3.4/32", "192.168.7.1/32"):
        assert let_through(text, prefix), prefix
    # Neither the network's own, nor another, nor a default route.
    for prefix in ("10.0.0.0/16", "10.0.3.0/24", "192.168.7.0/24", "172.16.0.0/12", "0.0.0.0/0"):
        assert not let_through(text, prefix), prefix
    peering = configured(kind, CASES["peering-lists"]()).out
    assert let_through(peering, "192.88.99.0/24")
    assert not let_through(peering, "192.88.99.0/25")


@pytest.mark.parametrize("kind", ROUTERS)
def test_only_what_the_appliance_announces_is_taken(configured: Callable[..., Done], kind: str) -> None:
    def taken(text: str) -> list[str]:
        return re.findall(r"-IN (?:seq \d+ permit|term announced from route-filter) (\S+)", text)

    drives = ["10.250.0.4/32", "10.250.0.30/32", "10.250.0.200/32"]
    assert taken(configured(kind, cross()).out) == ["10.0.0.0/16", *drives]
    assert taken(configured(kind, cross(announce_prefixes=["10.0.1.0/24"])).out) == ["10.0.1.0/24"]
    assert "made later" not in configured(kind, cross(announce_prefixes=["10.0.1.0/24"])).out


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("frr", ["permit ^64512$", "filter-list SLUICE-exchange-IN in", "permit ^$"]),
        ("cisco-ios", ["permit ^64512$", "filter-list 401 in", "permit ^$"]),
        ("junos", ['as-path SLUICE-exchange "64512"', "prefix-list SLUICE-exchange-OUT YOUR_PREFIX"]),
    ],
)
def test_a_peer_of_the_internet_is_held_to_its_own(
    configured: Callable[..., Done], kind: str, lines: list[str]
) -> None:
    text = configured(kind, exchange()).out
    assert [line for line in lines if line not in text] == []
    assert "YOUR_PREFIX" in text.split("To know:")[0]


@pytest.mark.parametrize("kind", ROUTERS)
def test_untagged_links_have_no_vlan(configured: Callable[..., Done], kind: str) -> None:
    tagged, untagged = (configured(kind, cross(vlan=vlan)).out.lower() for vlan in (101, 0))
    for word in ("dot1q", "vlan-id", "type vlan", "interface.101"):
        assert word not in untagged
    assert "101" in re.sub(r"169\.254\.101\.\d", "", tagged)
    assert "untagged" in untagged


def test_timers_stay_within_what_a_router_takes(configured: Callable[..., Done]) -> None:
    ios = configured("cisco-ios", cross(bfd_interval_milliseconds=5000)).out
    assert "bfd interval 999 min_rx 999 multiplier 3" in ios
    assert "999 ms at the slowest" in ios
    assert "hold-time 20" in configured("junos", cross(hold_seconds=3)).out
    assert "hold-time 90" in configured("junos", cross(hold_seconds=90)).out
    assert "timers 1 3" in configured("frr", cross(hold_seconds=3)).out
    # Echo packets would come back by way of the appliance, which lets none through.
    assert "no bfd echo" in ios
    assert "bfd" not in configured("cisco-ios", cross(disable_bfd=True)).out


@pytest.mark.parametrize("kind", ["frr", "cisco-ios"])
def test_long_names_stay_different_names_that_routers_take(configured: Callable[..., Done], kind: str) -> None:
    ends = ("one", "two")
    texts = [configured(kind, cross(name=f"interconnects/{'a' * 57}-{end}")).out for end in ends]
    labels = [re.findall(r"description (\S+)", text)[0] for text in texts]
    assert max(map(len, labels)) <= 47
    assert labels[0] != labels[1]


def test_the_script_for_aws_gives_the_settings_by_stdin(configured: Callable[..., Done], tmp_path: Path) -> None:
    aws = tmp_path / "aws"
    aws.write_text(f'#!/bin/bash\necho "$@" >{tmp_path}/arguments\ncat >{tmp_path}/settings\necho dxvif-1\n')
    aws.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(configured("aws", cross(local_as=4200000001)).out)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    ran = subprocess.run(["bash", str(script)], env=env, capture_output=True, text=True, timeout=20, check=True)
    assert ran.stdout == "dxvif-1\n"
    settings = json.loads((tmp_path / "settings").read_text())
    assert (settings["vlan"], settings["asnLong"], settings["authKey"]) == (101, 4200000001, PASSWORD_PLACEHOLDER)
    assert (settings["amazonAddress"], settings["customerAddress"]) == ("169.254.101.2/30", "169.254.101.1/30")
    assert PASSWORD_PLACEHOLDER not in (tmp_path / "arguments").read_text()


@pytest.mark.parametrize(
    ("interconnect", "field", "said"),
    [
        (exchange(), "kind", "is PEERING"),
        (cross(vlan=0), "vlan", "has a VLAN"),
        (cross(has_password=False), "password", "one of its own"),
        (cross(announce_prefixes=[f"10.0.{n}.0/24" for n in range(101)]), "announce_prefixes", "above 100"),
    ],
)
def test_what_aws_cannot_do_is_refused_with_the_field(
    configured: Callable[..., Done], interconnect: pb.Interconnect, field: str, said: str
) -> None:
    done = configured("aws", interconnect)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {field}: ")
    assert said in done.err
    assert "(UNSUPPORTED)" in done.err
