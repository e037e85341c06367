"""Every field that is wrong is named, with its value and what is allowed; nothing that is right is refused."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import Violation, within
from agent.requests import AttachmentSpec, MachineSpec, MachineUpdate, NetworkSpec
from agent.validation import objects as check

OWN = [("192.0.2.0/24", "the gateway's subnet"), ("127.0.0.0/8", "which is never routed")]
PORTS, ROUTER = ("uplink", "br-sluice"), "02:00:00:00:ff:01"
MACS = {ROUTER, "02:00:00:00:ff:02"}


def fields(found: list[Violation]) -> list[str]:
    return [violation.field for violation in found]


def machine(**changes: object) -> MachineSpec:
    values = {"mac": "02:00:00:00:00:01", "attachment": AttachmentSpec("tap1")} | changes
    return MachineSpec(**values)  # type: ignore[arg-type]


def machine_fields(**changes: object) -> list[str]:
    return fields(check.new_machine(machine(**changes), PORTS, MACS))


@pytest.mark.parametrize("name", ["a", "a-1", "a" * 63, "", "web-01"])
def test_identifiers(name: str) -> None:
    assert list(check.identifier("network_id", name)) == []


@pytest.mark.parametrize("name", ["A", "1a", "-a", "a-", "a" * 64, "a_b", "ä", "a\n", "a b", "networks/a"])
def test_no_identifiers(name: str) -> None:
    (violation,) = check.identifier("network_id", name)
    assert violation.field == "network_id"
    assert "starting with a letter" in violation.description


@pytest.mark.parametrize("name", ["", "networks", "networks/", "machines/a", "networks/a/b", "networks/A", "/a"])
def test_no_resource_names(name: str) -> None:
    assert fields(list(check.resource_name("name", name, "networks"))) == ["name"]


def test_a_network_with_every_field_right() -> None:
    right = NetworkSpec("office", "PRIVATE", "Größe & Co", "10.7.0.0/16", ("9.9.9.9", "10.7.0.2"), 9000)
    assert check.new_network(right, OWN) == []
    assert check.new_network(NetworkSpec(kind="ISOLATED", mtu=576), OWN) == []


def test_a_network_with_every_field_wrong_names_each() -> None:
    wrong = NetworkSpec("Office", "7", "x" * 64, "10.7.0.1/16", ("9.9.9", "224.0.0.1", "9.9.9.9", "9.9.9.9"), 100)
    found = check.new_network(wrong, OWN)
    assert fields(found) == [
        "network_id", "network.tenant", "network.kind", "network.prefix",
        "network.dns_servers[0]", "network.dns_servers[1]", "network.dns_servers[3]", "network.mtu",
    ]  # fmt: skip
    assert all("; allowed: " in violation.description for violation in found)
    assert "100" in found[-1].description


@pytest.mark.parametrize(
    "prefix", ["10.0.0.0", "10.0.0.0/15", "10.0.0.0/17", "10.0.1.0/16", "::/16", "x", "10.0.0.0/255.255.0.0"]
)
def test_no_requested_prefixes(prefix: str) -> None:
    assert fields(check.new_network(NetworkSpec(prefix=prefix), OWN)) == ["network.prefix"]


def test_the_appliance_s_own_addresses_are_refused_by_name() -> None:
    (violation,) = check.new_network(NetworkSpec(prefix="192.0.0.0/16"), OWN)
    assert "192.0.2.0/24, the gateway's subnet" in violation.description
    (violation,) = check.new_network(NetworkSpec(prefix="127.5.0.0/16"), OWN)
    assert "never routed" in violation.description


def test_an_isolated_network_takes_no_prefix() -> None:
    assert fields(check.new_network(NetworkSpec(kind="ISOLATED", prefix="172.16.0.0/30"), OWN)) == ["network.prefix"]


@pytest.mark.parametrize("mac", ["02:00:00:00:00:0A", "52:54:00:ab:cd:ef", "00:00:00:00:00:01"])
def test_macs(mac: str) -> None:
    assert machine_fields(mac=mac) == []


@pytest.mark.parametrize(
    "mac",
    ["", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "02-00-00-00-00-01", "020000000001",
     *sorted(MACS), ROUTER.upper(), "02:00:00:00:00:01\n"],
)  # fmt: skip
def test_no_macs(mac: str) -> None:
    assert machine_fields(mac=mac) == ["machine.mac_address"]


@pytest.mark.parametrize(
    ("attachment", "wrong"),
    [
        (None, ["machine.attachment"]),
        (AttachmentSpec(""), ["machine.attachment.port"]),
        (AttachmentSpec("x" * 16), ["machine.attachment.port"]),
        (AttachmentSpec("a b"), ["machine.attachment.port"]),
        (AttachmentSpec("a/b"), ["machine.attachment.port"]),
        (AttachmentSpec(".."), ["machine.attachment.port"]),
        (AttachmentSpec("uplink"), ["machine.attachment.port"]),
        (AttachmentSpec("br-sluice", vlan=5), ["machine.attachment.port"]),
        (AttachmentSpec("trunk", vlan=0), ["machine.attachment.vlan"]),
        (AttachmentSpec("trunk", vlan=4095), ["machine.attachment.vlan"]),
        (AttachmentSpec("tunnel", vni=0), ["machine.attachment.vni"]),
        (AttachmentSpec("tunnel", vni=1 << 24), ["machine.attachment.vni"]),
        (AttachmentSpec("", vlan=-1), ["machine.attachment.port", "machine.attachment.vlan"]),
        (AttachmentSpec("trunk", vlan=4094), []),
        (AttachmentSpec("tunnel", vni=(1 << 24) - 1), []),
        (AttachmentSpec("a_b.c-D9"), []),
    ],
)
def test_attachments(attachment: AttachmentSpec | None, wrong: list[str]) -> None:
    assert machine_fields(attachment=attachment) == wrong


def test_addresses_need_a_network_and_lie_in_it() -> None:
    assert machine_fields(address="10.0.0.2") == ["machine.address"]
    assert machine_fields(address="10.0.0.02", network="networks/a") == ["machine.address"]
    assert machine_fields(address="10.0.0.2", network="networks/a") == []
    for address in ("10.0.0.0", "10.0.0.1", "10.0.255.255", "10.1.0.2", "9.255.255.255"):
        (violation,) = check.address_in("machine.address", address, "10.0.0.0/16")
        assert "10.0.0.2 to 10.0.255.254" in violation.description
    for address in ("10.0.0.2", "10.0.255.254"):
        assert list(check.address_in("machine.address", address, "10.0.0.0/16")) == []


@pytest.mark.parametrize("hostname", ["-a", "a-", "a.b", "a_b", "x" * 64, "ä"])
def test_no_hostnames(hostname: str) -> None:
    assert machine_fields(hostname=hostname) == ["machine.hostname"]


def test_a_change_is_checked_only_where_it_changes_something() -> None:
    assert check.machine_change(MachineUpdate(), PORTS, MACS) == []
    found = check.machine_change(MachineUpdate("x", "-", AttachmentSpec("uplink")), PORTS, MACS)
    assert fields(found) == ["machine.mac_address", "machine.hostname", "machine.attachment.port"]


def test_request_ids_are_uuids() -> None:
    assert list(check.request_id("request_id", "")) == []
    assert list(check.request_id("request_id", str(uuid.uuid4()).upper())) == []
    for wrong in ("x", "{" + str(uuid.uuid4()) + "}", uuid.uuid4().hex, " "):
        assert fields(list(check.request_id("request_id", wrong))) == ["request_id"]


def test_violations_of_a_batch_name_the_request() -> None:
    (violation,) = within(list(check.mac("machine.mac_address", "x", ROUTER)), "requests[7]")
    assert violation.field == "requests[7].machine.mac_address"
    assert violation.description.startswith("requests[7].machine.mac_address is 'x'; allowed: ")


@given(st.text(), st.text(), st.text(), st.lists(st.text()), st.integers(-(1 << 31), (1 << 31) - 1))
def test_no_text_breaks_the_checks(name: str, tenant: str, prefix: str, servers: list[str], mtu: int) -> None:
    for found in (
        check.new_network(NetworkSpec(name, "PRIVATE", tenant, prefix, tuple(servers), mtu), OWN),
        check.new_machine(MachineSpec(name, tenant, prefix, name, tenant, AttachmentSpec(prefix, mtu)), PORTS, MACS),
    ):
        assert all(v.description.startswith(v.field) and len(v.description) < 500 for v in found)
