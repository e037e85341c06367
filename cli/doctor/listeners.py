"""Services of the host that listen on all addresses: a router should offer SSH and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cli.doctor.finding import Finding, error, ok, warning
from cli.doctor.tools import output_of

CHECK = "listening services"
# Processes of packages that Sluice, or its tests, bring and that it starts itself where it needs them → their units.
# Process names have at most 15 characters.
UNITS: Mapping[str, str] = {
    "smbd": "smbd",
    "nmbd": "nmbd",
    "rpcbind": "rpcbind.socket rpcbind",
    "rpc.statd": "rpc-statd",
    "rpc.mountd": "nfs-server",
    "ganesha.nfsd": "nfs-ganesha",
    "bgpd": "frr",
    "bfdd": "frr",
    "zebra": "frr",
    "watchfrr": "frr",
    "charon": "strongswan-starter",
    "charon-systemd": "strongswan",
    "starter": "strongswan-starter",
    "dnsmasq": "dnsmasq",
    "iperf3": "iperf3",
}
# SSH is how the host is managed; the others ask servers and answer nobody's requests.
EXPECTED = ("sshd", "dhclient", "dhcpcd", "NetworkManager", "systemd-network", "systemd-timesyn")
# The kernel's default for ports that programs do not choose (ip_local_port_range): from there UDP sockets ask others.
_FIRST_EPHEMERAL = 32768
_EVERYWHERE = ("0.0.0.0", "*", "[::]", "::")
_PROCESS = re.compile(r'\("([^"]+)"')


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that takes what comes from anybody: `tcp` or `udp`, address, port, and its process, empty if hidden."""

    protocol: str
    address: str
    port: int
    process: str


def gather() -> tuple[Listener, ...] | None:
    """Listening sockets of the host's network namespace; None when ss(8) cannot be asked."""
    text = output_of("ss", "--no-header", "--listening", "--numeric", "--tcp", "--udp", "--processes")
    return None if text is None else parse(text)


def parse(text: str) -> tuple[Listener, ...]:
    """Sockets as ss(8) prints them, a line each."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 5:
            continue
        address, _, port = fields[4].rpartition(":")
        process = _PROCESS.search(line)
        # An address may name its device: 0.0.0.0%eth0.
        found.append(Listener(fields[0], address, int(port), process[1] if process else ""))
    return tuple(found)


def judge(listeners: tuple[Listener, ...] | None) -> list[Finding]:
    """One finding for each process that listens on all addresses."""
    if listeners is None:
        return [warning(CHECK, "ss cannot be asked", "apt install iproute2")]
    by_process: dict[str, list[str]] = {}
    for one in listeners:
        if one.address in _EVERYWHERE and not _expected(one):
            ports = by_process.setdefault(one.process, [])
            if (port := f"{one.protocol} {one.port}") not in ports:
                ports.append(port)
    found = [_finding(process, ports) for process, ports in by_process.items()]
    return found or [ok(CHECK, "nothing but SSH on all addresses")]


def _expected(one: Listener) -> bool:
    asks = one.protocol == "udp" and one.port >= _FIRST_EPHEMERAL and one.process not in UNITS
    return asks or one.process in EXPECTED


def _finding(process: str, ports: list[str]) -> Finding:
    where = f"listens on all addresses: {', '.join(ports)}"
    if not process:
        return warning(CHECK, f"a process of another user or namespace {where}", "run as root, or: ss -lntup")
    if process in UNITS:
        return error(CHECK, f"{process} {where}", f"systemctl disable --now {UNITS[process]}")
    return warning(CHECK, f"{process} {where}", "stop it, or have it listen on the management address only")
