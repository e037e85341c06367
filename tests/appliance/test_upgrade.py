"""The package on a bare Debian: three commands, a VPN and BGP, an upgrade under load, a reboot, removal and purge."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from host import LAB, Host, build_package, install
from images import Release
from lab import OFFICE, PLANT, SERVER, Lab
from test_host import SSH
from virtual_machine import VirtualMachine

pytestmark = pytest.mark.whole
PREVIOUS = "0.0.1"
# The office's router is in the same machine, with the same two keys.
BOTH_ENDS = 2
# Seconds without an exchange on a TCP connection, which makes one every 10 ms.
MOST_GAP = 1.0


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


def test_a_vpn_and_a_direct_connect_work(bare: Host, lab: Lab) -> None:
    lab.attach_sites()
    for site in (OFFICE, PLANT):
        assert lab.reaches("a1", site)
        assert not lab.reaches("b1", site)
        assert not lab.reaches("web", site)
    # ESP is the kernel's: it holds the keys of both directions in the gateway's namespace.
    assert bare.run("ip -all netns exec ip xfrm state").count("proto esp") == 2 * BOTH_ENDS


def test_an_upgrade_loses_no_packet_and_restarts_no_switch(bare: Host, lab: Lab, package: Path) -> None:
    switch = bare.main_pid("ovs-vswitchd")
    bare.machine.copy([package], "/root")
    with contextlib.ExitStack() as stack:
        paths = [("web", SERVER), ("a2", lab.addresses["a1"]), ("a1", OFFICE), ("a1", PLANT)]
        # Four times 10 ms would be most of what an emulated machine can do.
        pings = {path: stack.enter_context(lab.pinging(*path, 0.01 if path[1] == SERVER else 0.05)) for path in paths}
        connection = stack.enter_context(lab.streaming("a1", SERVER))
        bare.run(f"apt-get install -y /root/{package.name}", 600)
        bare.await_active()
    assert {path: found[0].lost for path, found in pings.items()} == dict.fromkeys(paths, 0)
    assert connection[0] < MOST_GAP
    assert bare.main_pid("ovs-vswitchd") == switch
    version = package.name.split("_")[1]
    assert bare.run("dpkg-query -W -f '${Version}' sluice") == version


def test_after_a_reboot_all_works_and_only_ssh_listens(bare: Host, lab: Lab) -> None:
    bare.machine.reboot()
    bare.run(f"python3 {LAB}/lab.py up")
    bare.await_active()
    lab.start_sites()
    for address in (SERVER, lab.addresses["a2"], OFFICE, PLANT):
        lab.await_reach("a1", address)
    assert not lab.reaches("b1", lab.addresses["a2"])
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
