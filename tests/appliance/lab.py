"""The laboratory around a host (guest/lab.py) and what its pings and captures say."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from host import GUEST, LAB, Host
from images import ROOT

SERVER = "198.51.100.1"
PREFIX = "10.0.0.0/16"
# A PC of customer `a` at each of its sites (guest/peers.py).
OFFICE, PLANT = "192.168.50.10", "192.168.60.10"
# As a README user would: one machine alone, and two customers' offices with the same prefix.
_NETWORKS = ("a", "b")
_MACHINES = {"web": "", "a1": "a", "a2": "a", "b1": "b"}
_SECRET, _SECRET_FILE = "0123456789abcdef0123456789abcdef", "/root/office.psk"
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

    def attach_sites(self) -> None:
        """A VPN to customer `a`'s office and a Direct Connect to its plant (guest/peers.py). Raises CommandError."""
        files = [GUEST / "peers.py", *(ROOT / "mininet" / name for name in ("bgp_speaker.py", "supervisor.py"))]
        self.host.machine.copy(files, LAB)
        self.host.machine.write(_SECRET_FILE, _SECRET, "600")
        self.host.run("sluicectl vpn gateways create head --network a --wait")
        self.start_sites()
        office = f"--peer 198.51.100.66 --remote-prefix 192.168.50.0/24 --psk-file {_SECRET_FILE} --wait-established 90"
        self.host.run(f"sluicectl vpn connections create office --gateway head {office}", 180)
        self.host.run("ovs-vsctl --may-exist add-port br-sluice plant")
        link = "--port plant --vlan 101 --local-address 169.254.101.1/30 --peer-address 169.254.101.2 --peer-as 65010"
        plant = f"--kind direct-connect --network a {link} --accept 192.168.60.0/24 --wait-established 90"
        self.host.run(f"sluicectl interconnects create plant {plant}", 180)

    def start_sites(self) -> None:
        """The routers at the other ends, as after a boot. Raises CommandError."""
        gateway = self.host.sluicectl("vpn gateways show head")
        assert isinstance(gateway, dict)
        self.host.run(f"python3 {LAB}/peers.py bgp")
        self.host.run(f"python3 {LAB}/peers.py vpn {gateway['address']} {_SECRET}")

    def await_reach(self, machine: str, address: str, seconds: float = 90.0) -> None:
        """Wait until a machine reaches an address. Raises TimeoutError."""
        ping = f"ip netns exec {machine} ping -n -c 1 -W 1 {address}"
        self.host.await_true(ping, f"{machine} reaches {address}", seconds)

    @contextmanager
    def pinging(self, machine: str, address: str, interval: float) -> Iterator[list[Pings]]:
        """Echo requests while the body runs; afterwards the list holds what became of them."""
        found: list[Pings] = []
        with self._probing("ping", machine, address, str(interval), answer="bytes from") as logs:
            yield found
        found.append(read_pings(logs[0]))

    @contextmanager
    def streaming(self, machine: str, address: str) -> Iterator[list[float]]:
        """A TCP connection that exchanges every 10 ms while the body runs; the list then holds its longest gap (s)."""
        found: list[float] = []
        with self._probing("stream", machine, address) as logs:
            yield found
        times = [float(line) for line in logs[0].splitlines()]
        found.append(max(after - before for before, after in itertools.pairwise(times)))

    @contextmanager
    def _probing(self, kind: str, machine: str, address: str, *more: str, answer: str = ".") -> Iterator[list[str]]:
        """A probe of guest/lab.py that logs answers, and still does after the body; then the list holds its log.

        Begins with the first line that matches `answer`.
        """
        file, unit = f"/run/{kind}-{machine}-{address}", f"lab-{kind}-{machine}-{address}"
        arguments = " ".join((kind, machine, address, *more, file))
        self.host.run(f"systemd-run -q --unit {unit} python3 {LAB}/lab.py {arguments}")
        self.host.await_true(f"grep -q '{answer}' {file}", f"{machine} reaches {address}", 30)
        logs: list[str] = []
        try:
            yield logs
            before = self.host.run(f"wc -l <{file}").strip()
            self.host.await_true(f"test $(wc -l <{file}) -gt $(({before} + 5))", f"more answers to {unit}", 30)
        finally:
            self.host.run(f"systemctl stop {unit}")
        logs.append(self.host.run(f"cat {file}"))

    def pairs(self, namespace: str) -> set[tuple[str, str]]:
        """Source and destination of what arrived in a namespace since boot (BOOT_UNIT)."""
        lines = self.host.run(f"cat {LAB}/{namespace}.pairs").splitlines()
        return {(source, destination) for source, destination in map(str.split, lines)}
