"""How much gets through from one place of a sandbox to another: iperf3, and Ethernet frames instead of its payload."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from supervisor import await_condition

PORT = 5201
UDP_PAYLOAD = 1400
LISTEN = "0A"
_ETHERNET, _IP, _UDP, _TCP = 14, 20, 8, 32
_UDP_FRAME = UDP_PAYLOAD + _ETHERNET + _IP + _UDP
_TCP_FRAME = 1500 + _ETHERNET
_GRACE_SECONDS = 15.0


class Host(Protocol):
    """Where a program is started: a process' network namespace."""

    @property
    def pid(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Flow:
    """What is sent: TCP as fast as it can, or UDP at `offered` Mbit/s; `back` from the server to who asked."""

    udp: bool = False
    offered: float = 0
    back: bool = False
    seconds: float = 4
    streams: int = 1

    @property
    def name(self) -> str:
        """As a row of a table is called."""
        return f"{'UDP' if self.udp else 'TCP'} {'in' if self.back else 'out'}"


class Run:
    """One transfer under way between `client` and a server on `address` of `server`."""

    def __init__(self, client: Host, server: Host, address: str, flow: Flow, port: int = PORT) -> None:
        self._flow = flow
        self._server = _inside(server, ["iperf3", "-s", "-1", "-J", "-B", address, "-p", str(port)])
        try:
            await_condition(lambda: _listens(server, port), "the server listens", 5)
            command = ["iperf3", "-c", address, "-p", str(port), "-J", "-t", str(flow.seconds), "-P", str(flow.streams)]
            command += ["-R"] if flow.back else []
            # The burst at the start is left out; iperf3 3.12 counts wrongly when it should do so with UDP.
            command += ["-u", "-l", str(UDP_PAYLOAD), "-b", f"{flow.offered}M"] if flow.udp else ["-O", "1"]
            self._client = _inside(client, command)
        except BaseException:
            self._end(self._server)
            raise

    def rate(self) -> float:
        """Mbit/s of Ethernet frames that arrived, once it has ended. Raises OSError with what iperf3 says."""
        try:
            limit = self._flow.seconds + _GRACE_SECONDS
            report = json.loads(self._client.communicate(timeout=limit)[0])
        finally:
            self.close()
        if "error" in report:
            raise OSError(f"iperf3: {report['error']}")
        return self._frames(report["end"])

    def close(self) -> None:
        """End it now."""
        self._end(self._client)
        self._end(self._server)

    def _frames(self, end: dict[str, Any]) -> float:
        if self._flow.udp:
            # Not what was sent less what was lost: losses after the last datagram that arrived are not counted.
            received = end["sum_received"]
            return float(received["bytes"] / UDP_PAYLOAD * _UDP_FRAME * 8 / received["seconds"] / 1e6)
        payload = _TCP_FRAME - _ETHERNET - _IP - _TCP
        return float(end["sum_received"]["bits_per_second"] / 1e6 * _TCP_FRAME / payload)

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _inside(host: Host, command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["mnexec", "-a", str(host.pid), *command], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )


def _listens(host: Host, port: int) -> bool:
    rows = [line.split() for line in Path(f"/proc/{host.pid}/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == LISTEN for row in rows)
