"""The sandbox of `make run`, and that its verdict is one: it sees a way that should not be, and one that is missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from datacenter import MACHINES, OFFICE_PREFIX, OFFICES
from reachability import Matrix, expect, observe
from sandbox import Sandbox


@pytest.fixture(scope="module")
def datacenter(sandbox: Sandbox) -> Iterator[Sandbox]:
    for office in OFFICES:
        sandbox.create_network(office.name, tenant=office.tenant, prefix=OFFICE_PREFIX)
    sandbox.create_machines(MACHINES)
    yield sandbox
    for wanted in MACHINES:
        sandbox.delete_machine(wanted.name)
    for office in OFFICES:
        sandbox.delete_network(office.name)


def look(sandbox: Sandbox) -> Matrix:
    return Matrix(expect(sandbox, MACHINES), observe(sandbox, MACHINES))


def test_who_reaches_whom(datacenter: Sandbox) -> None:
    assert look(datacenter).differences() == []


def test_a_missing_machine_is_seen(datacenter: Sandbox) -> None:
    datacenter.site.machines["ada-db"].run("ip", "link", "set", "eth0", "down")
    try:
        found = look(datacenter).differences()
    finally:
        machine = datacenter.site.machines["ada-db"]
        machine.run("ip", "link", "set", "eth0", "up")
        machine.obtain_lease()
    assert "ada-pc1 → ada-db: expected yes, seen no" in found
    assert "ada-db → internet" not in "".join(found)
    assert "ada-db → tcp: expected yes, seen no" in found
    assert not [line for line in found if "ada-db" not in line]


def test_a_way_between_tenants_is_seen(datacenter: Sandbox) -> None:
    # A cable behind the appliance's back: the second interface of each machine joins them directly.
    ada, bob = (datacenter.site.machines[name] for name in ("ada-web", "bob-web"))
    ada.run("ip", "link", "add", "back", "type", "veth", "peer", "name", "back", "netns", str(bob.pid))
    try:
        for one, other in ((ada, bob), (bob, ada)):
            one.run("ip", "link", "set", "back", "up")
            one.run("ip", "route", "add", f"{other.address}/32", "dev", "back")
        found = look(datacenter).differences()
    finally:
        ada.run("ip", "link", "del", "back")
    assert "ada-web → bob-web: expected no, seen yes" in found
    assert "bob-web → ada-web: expected no, seen yes" in found
    assert len(found) == 2
