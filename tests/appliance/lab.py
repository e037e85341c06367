"""The laboratory around a host (guest/lab.py) and what its pings and captures say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from host import LAB, Host

SERVER = "198.51.100.1"
PREFIX = "10.0.0.0/16"
# As a README user would: one machine alone, and two customers' offices with the same prefix.
_NETWORKS = ("a", "b")
_MACHINES = {"web": "", "a1": "a", "a2": "a", "b1": "b"}
MACS = {"web": "02:00:00:00:01:01", "a1": "02:00:00:00:02:01", "a2": "02:00:00:00:02:02", "b1": "02:00:00:00:03:01"}

BOOT_UNIT = f"""
[Unit]
Description=Laboratory around the appliance: devices that a real host has when it boots, and probes
DefaultDependencies=no
After=local-fs.target systemd-modules-load.service
Before=network-pre.target ovsdb-server.service ovs-vswitchd.service

[Service]
Type=oneshot
RemainAfterExit=yes
WorkingDirectory={LAB}
ExecStart=/usr/bin/python3 lab.py up
ExecStart=/bin/sh -c 'for name in web a1 a2 b1; do python3 lab.py ping $$name {SERVER} 0.2 $$name.ping & done'
ExecStart=/bin/sh -c 'python3 lab.py ping a1 10.0.0.3 0.2 inside.ping &'
ExecStart=/bin/sh -c 'for name in internet b1; do ip netns exec $$name python3 lab.py record $$name.pairs & done'

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class Pings:
    """What ping(8) with -D and -O logged: times of replies (s), and how many echo requests had none."""

    replies: tuple[float, ...]
    lost: int

    @property
    def longest_gap(self) -> float:
        """The longest time between two replies, in seconds."""
        return max((after - before for before, after in zip(self.replies, self.replies[1:], strict=False)), default=0.0)


def read_pings(log: str) -> Pings:
    """A log of ping(8); a request that is still without its reply at the end does not count."""
    replies = {
        int(number): float(at) for at, number in re.findall(r"^\[([\d.]+)\] .*bytes from.*icmp_seq=(\d+)", log, re.M)
    }
    asked = {int(number) for number in re.findall(r"no answer yet for icmp_seq=(\d+)", log)}
    refused = {int(number) for number in re.findall(r"From \S+ icmp_seq=(\d+)", log)}
    return Pings(tuple(sorted(replies.values())), len((asked | refused) - set(replies)))


class Lab:
    """Networks and machines on a host that was installed; `host.install` made their devices."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.addresses: dict[str, str] = {}

    def allocate(self) -> None:
        """Create networks and machines by the CLI, and have machines get their addresses. Raises CommandError."""
        for name in _NETWORKS:
            self.host.run(f"sluicectl networks create {name} --prefix {PREFIX} --wait")
        for name, network in _MACHINES.items():
            where = f"--network {network}" if network else ""
            self.host.run(f"ovs-vsctl --may-exist add-port br-sluice {name}")
            self.host.run(f"sluicectl machines create {name} {where} --mac {MACS[name]} --port {name} --wait")
        for name in _MACHINES:
            self.addresses[name] = self.host.run(f"python3 {LAB}/lab.py lease {name}").strip()

    def release(self) -> None:
        """Delete what `allocate` made. Raises CommandError."""
        self.host.run(f"sluicectl machines delete {' '.join(_MACHINES)}")
        self.host.run(f"sluicectl networks delete {' '.join(_NETWORKS)}")
        for name in _MACHINES:
            self.host.run(f"ovs-vsctl --if-exists del-port br-sluice {name}")

    def reaches(self, machine: str, address: str) -> bool:
        """Whether one of three echo requests of a machine is answered."""
        command = f"ip netns exec {machine} ping -n -c 3 -i 0.2 -W 2 {address}"
        return self.host.machine.attempt(command).returncode == 0

    @contextmanager
    def pinging(self, machine: str, address: str, interval: float) -> Iterator[list[Pings]]:
        """Echo requests while the body runs; afterwards the list holds what became of them."""
        file = f"/run/{machine}-{address}.ping"
        unit = f"lab-ping-{machine}"
        self.host.run(f"systemd-run -q --unit {unit} python3 {LAB}/lab.py ping {machine} {address} {interval} {file}")
        self.host.await_true(f"grep -q 'bytes from' {file}", f"{machine} reaches {address}", 30)
        found: list[Pings] = []
        try:
            yield found
            before = self.host.run(f"wc -l <{file}").strip()
            self.host.await_true(f"test $(wc -l <{file}) -gt $(({before} + 5))", "more pings", 30)
        finally:
            self.host.run(f"systemctl stop {unit}")
        found.append(read_pings(self.host.run(f"cat {file}")))

    def pairs(self, namespace: str) -> set[tuple[str, str]]:
        """Source and destination of what arrived in a namespace since boot (BOOT_UNIT)."""
        lines = self.host.run(f"cat {LAB}/{namespace}.pairs").splitlines()
        return {(source, destination) for source, destination in map(str.split, lines)}
