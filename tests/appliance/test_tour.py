"""The tour of `make run` on the installed appliance: DHCP, NAT, names, drives, VPN by kernel ESP, BGP."""

from __future__ import annotations

from host import LAB, Host
from images import ROOT, SOURCES
from sources import push
from virtual_machine import PATIENCE


def test_the_tour_is_as_expected(host: Host) -> None:
    push(host.machine, ROOT)
    # The tour has ports of the same names.
    host.run(f"python3 {LAB}/lab.py down")
    program = ".venv/bin/python tests/appliance/guest/tour.py"
    tour = f"cd {SOURCES} && SLUICE_PATIENCE={PATIENCE} PYTHONPATH=.:proto:mininet {program} </dev/null"
    assert "tour: as expected" in host.run(f"{tour} 2>&1", 900)
