"""A router of somebody else's that speaks BGP and BFD: FRR's zebra, bfdd and bgpd in one network namespace.

It is configured by hand, independently of Sluice, as a customer's would be.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor import await_condition

PROGRAMS = ("zebra", "bfdd", "bgpd")
_PROGRAM = "/usr/lib/frr/{}"
_END_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
_OF_BGP = "router bgp {}"


class BgpSpeakerError(Exception):
    """A daemon did not take a command; the text is what it says."""


@dataclass(frozen=True, slots=True)
class Neighbor:
    """One session of a speaker: `address`, `asn` and `password` are those of its configuration for the other side.

    `networks` are announced, whether or not they are there. `bfd_milliseconds`
    0: no BFD. `more` are further lines for the neighbor, such as
    `ebgp-multihop 2`.
    """

    address: str
    asn: int
    networks: Sequence[str] = ()
    password: str = ""
    bfd_milliseconds: int = 100
    hold_seconds: int = 9
    more: Sequence[str] = ()


def bgp_configuration(router: str, asn: int, neighbors: Sequence[Neighbor]) -> str:
    """The lines for bgpd (FRR 8.4) of a router whose id is `router`, in the AS `asn`."""
    lines = [_OF_BGP.format(asn), f" bgp router-id {router}", " no bgp ebgp-requires-policy"]
    lines += [" no bgp network import-check", " bgp log-neighbor-changes", " coalesce-time 0"]
    for one in neighbors:
        settings = [f"remote-as {one.asn}", f"timers {max(1, one.hold_seconds // 3)} {one.hold_seconds}"]
        settings += ["timers connect 1", "advertisement-interval 0"]
        settings += [f"password {one.password}"] if one.password else []
        settings += ["bfd", "bfd profile link"] if one.bfd_milliseconds else []
        lines += [f" neighbor {one.address} {setting}" for setting in (*settings, *one.more)]
    networks = dict.fromkeys(prefix for one in neighbors for prefix in one.networks)
    lines += [" address-family ipv4 unicast", *(f"  network {prefix}" for prefix in networks)]
    return "\n".join([*lines, " exit-address-family", "exit", ""])


def bfd_configuration(milliseconds: int) -> str:
    """The lines for bfdd of the profile `link`, which neighbors refer to; three packets may be lost."""
    interval = f"  receive-interval {milliseconds}\n  transmit-interval {milliseconds}\n"
    return f"bfd\n profile link\n{interval} exit\nexit\n"


class BgpSpeaker:
    """The three daemons of one namespace, whose files are in `directory`.

    `namespace` is the namespace's file: `/run/netns/NAME`, or `/proc/PID/ns/net` of a machine.
    """

    def __init__(self, namespace: str, directory: Path) -> None:
        self._namespace, self._directory = namespace, directory
        self._listens = True

    def start(self, bgp: str, bfd: str = "", *, listens: bool = True) -> None:
        """Start all three with these lines; answers once bgpd does. Raises CalledProcessError, TimeoutError.

        One that does not listen opens its sessions itself, or has none.
        """
        self._listens = listens
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True, mode=0o755)
        for program, text in (("zebra", "hostname peer\n"), ("bfdd", bfd), ("bgpd", bgp)):
            (self._directory / f"{program}.conf").write_text(text)
        subprocess.run(["chown", "-R", "frr:frr", str(self._directory)], check=True)
        for program in PROGRAMS:
            self._launch(program)
        await_condition(lambda: self._answers("bgpd"), "bgpd answers", _ANSWER_SECONDS)

    def start_with(self, router: str, asn: int, *neighbors: Neighbor, listens: bool = True) -> None:
        """As `start`, with sessions to these neighbors."""
        intervals = [one.bfd_milliseconds for one in neighbors if one.bfd_milliseconds]
        bfd = bfd_configuration(intervals[0]) if intervals else ""
        self.start(bgp_configuration(router, asn, neighbors), bfd, listens=listens)

    def stop(self) -> None:
        """End all three in order: bgpd closes its sessions."""
        for program in reversed(PROGRAMS):
            self.kill(program, number=signal.SIGTERM)

    def kill(self, *programs: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to these programs, or to all."""
        for program in programs or PROGRAMS:
            if pid := self.pid(program):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._await_ended(programs or PROGRAMS)

    def pid(self, program: str) -> int:
        """Process id of one of them; 0: it does not run."""
        try:
            pid = int((self._directory / f"{program}.pid").read_text())
            return pid if Path(f"/proc/{pid}/comm").read_text().strip() == program else 0
        except (OSError, ValueError):
            return 0

    def log(self) -> str:
        """What bgpd logged."""
        return (self._directory / "bgpd.log").read_text(errors="replace")

    def show(self, command: str, program: str = "bgpd") -> Any:
        """What `show COMMAND json` answers. Raises BgpSpeakerError, OSError."""
        return json.loads(self.vty(f"show {command} json", program=program) or "{}")

    def configure(self, *lines: str, program: str = "bgpd") -> None:
        """Change the configuration that runs. Raises BgpSpeakerError, OSError."""
        self.vty("configure terminal", *lines, program=program)

    def announce(self, asn: int, *networks: str, withdraw: bool = False) -> None:
        """Announce more networks, or withdraw these. Raises BgpSpeakerError, OSError."""
        words = "no network" if withdraw else "network"
        lines = [f"{words} {prefix}" for prefix in networks]
        self.configure(_OF_BGP.format(asn), "address-family ipv4 unicast", *lines)

    def established(self, address: str) -> bool:
        """Whether the session to this neighbor is."""
        peers = self.show("bgp ipv4 unicast summary").get("peers", {})
        return bool(peers.get(address, {}).get("state") == "Established")

    def learned(self) -> set[str]:
        """The prefixes it has from neighbors."""
        routes = self.show("bgp ipv4 unicast").get("routes", {})
        return {prefix for prefix, paths in routes.items() if any(path.get("pathFrom") == "external" for path in paths)}

    def vty(self, *commands: str, program: str = "bgpd") -> str:
        """What one of them answers to the last of these commands. Raises BgpSpeakerError, OSError."""
        answer = ""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(_ANSWER_SECONDS)
            link.connect(str(self._directory / f"{program}.vty"))
            for command in ("enable", *commands):
                link.sendall(command.encode() + b"\0")
                answer = _answer(link, command)
        return answer

    def _launch(self, program: str) -> None:
        directory = self._directory
        command = ["nsenter", f"--net={self._namespace}", _PROGRAM.format(program), "-d", "-u", "frr", "-g", "frr"]
        command += ["--vty_socket", str(directory), "-A", "127.0.0.1", "-P", "0", "--limit-fds", "1024"]
        command += ["-f", str(directory / f"{program}.conf"), "-i", str(directory / f"{program}.pid")]
        command += ["-z", str(directory / "zserv.api"), "--log", f"file:{directory / program}.log"]
        command += ["--bfdctl", str(directory / "bfdd.sock")] if program == "bfdd" else []
        command += ["--bgp_port", "0"] if program == "bgpd" and not self._listens else []
        nothing = subprocess.DEVNULL
        subprocess.run(command, check=True, start_new_session=True, stdin=nothing, stdout=nothing, stderr=nothing)

    def _answers(self, program: str) -> bool:
        try:
            self.vty("show version", program=program)
        except (OSError, BgpSpeakerError):
            return False
        return True

    def _await_ended(self, programs: Sequence[str]) -> None:
        await_condition(lambda: not any(map(self.pid, programs)), f"{', '.join(programs)} ended", _END_SECONDS)


def _answer(link: socket.socket, command: str) -> str:
    received = bytearray()
    # The end of an answer: three zeros and a return code (FRR's lib/vty.c), of which 0 is success.
    while received[-4:-1] != b"\0\0\0":
        part = link.recv(1 << 20)
        if not part:
            raise BgpSpeakerError(f"{command}: the daemon ended")
        received += part
    text = received[:-4].decode(errors="replace")
    if received[-1]:
        raise BgpSpeakerError(f"{command}: {text.strip() or f'return code {received[-1]}'}")
    return text
