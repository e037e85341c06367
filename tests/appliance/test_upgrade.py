"""The package on a bare Debian: three commands, an upgrade under load, removal and purge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from host import Host, build_package, install
from images import Release
from lab import SERVER, Lab
from test_host import SSH
from virtual_machine import VirtualMachine

pytestmark = pytest.mark.whole
PREVIOUS = "0.0.1"


@pytest.fixture(scope="module")
def bare(release: Release, folder: Path) -> Iterator[Host]:
    """A bare Debian with the previous package."""
    machine = VirtualMachine(images.bare(release), folder / f"{release.name}-bare")
    try:
        machine.start()
        yield install(machine, build_package(PREVIOUS))
    finally:
        machine.close()


@pytest.fixture(scope="module")
def lab(bare: Host) -> Lab:
    """Machines on it."""
    one = Lab(bare)
    one.allocate()
    return one


def test_three_commands_are_enough(bare: Host, lab: Lab) -> None:
    assert lab.reaches("web", SERVER)
    assert lab.reaches("a1", lab.addresses["a2"])
    assert not lab.reaches("b1", lab.addresses["a2"])
    assert bare.listening() <= SSH


def test_an_upgrade_loses_no_packet_and_restarts_no_switch(bare: Host, lab: Lab, package: Path) -> None:
    switch = bare.main_pid("ovs-vswitchd")
    bare.machine.copy([package], "/root")
    with lab.pinging("a1", SERVER, 0.01) as outside, lab.pinging("a2", lab.addresses["a1"], 0.01) as inside:
        bare.run(f"apt-get install -y /root/{package.name}", 600)
        bare.await_active()
    assert (outside[0].lost, inside[0].lost) == (0, 0)
    assert bare.main_pid("ovs-vswitchd") == switch
    version = package.name.split("_")[1]
    assert bare.run("dpkg-query -W -f '${Version}' sluice") == version


def test_after_a_reboot_only_ssh_listens(bare: Host) -> None:
    bare.machine.reboot()
    bare.await_true("systemctl is-active sluice-agent", "agent active")
    assert bare.listening() <= SSH


def test_removal_leaves_what_forwards_and_says_so(bare: Host) -> None:
    said = bare.run("apt-get remove -y sluice", 300)
    assert "br-sluice" in said
    assert bare.run("ovs-vsctl br-exists br-sluice && echo yes").strip() == "yes"
    assert bare.run("ls /var/lib/sluice/sluice.db")
    assert bare.run("systemctl list-units --all --plain --no-legend 'sluice-*'").strip() == ""


def test_purge_leaves_nothing(bare: Host) -> None:
    bare.run("apt-get purge -y sluice", 300)
    assert bare.machine.attempt("ovs-vsctl br-exists br-sluice").returncode != 0
    found = "find / -xdev -iname '*sluice*' -not -path '/proc/*' -not -path '/root/*' -not -path '/var/log/*'"
    assert bare.run(f"{found} -not -path '/opt/lab*'").split() == []
    assert bare.run("ip netns list | grep sluice || true").strip() == ""
