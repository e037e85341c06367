"""What machines get besides reachability: a public address, names, a shared drive. Each tried, and as it should be."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import probes
from fileserver import SHARE, FileServer
from machines import SERVERS, Machine
from sandbox import Sandbox

SERVER = SERVERS[0]
NOBODY = "nobody"
UNKNOWN = "NXDOMAIN"


@dataclass(frozen=True, slots=True)
class Shown:
    """One thing tried: what, the answer there should be, and the one there was."""

    what: str
    expected: str
    seen: str

    @property
    def holds(self) -> bool:
        """Whether the answer was as it should be."""
        return self.seen == self.expected

    def __str__(self) -> str:
        return f"{self.what:66} {self.seen}" + ("" if self.holds else f"   !expected {self.expected}")


def _who(machine: Machine, address: str) -> str:
    answer = probes.ask_tcp(machine.pid, [address], seconds=1.0).get(address)
    return answer.name if answer else NOBODY


def public_address(sandbox: Sandbox, address: str, owner: str, other: str, free: str, peer: str) -> Iterator[Shown]:
    """`address` stands for machine `owner`, whoever asks; `free` is one of the pool that nobody has.

    `peer` is a host beyond a peering.
    """
    machines = sandbox.site.machines
    for asker in (sandbox.internet, machines[other], machines[owner], machines[peer]):
        yield Shown(f"{asker.name}: who is at {address}?", owner, _who(asker, address))
    answer = probes.ask_tcp(machines[owner].pid, [SERVER]).get(SERVER)
    yield Shown(f"{owner}: as whom does a server in the Internet see me?", address,
                answer.address if answer else NOBODY)  # fmt: skip
    for asker in (sandbox.internet, machines[peer]):
        yield Shown(f"{asker.name}: who is at {free}, which nobody has?", NOBODY, _who(asker, free))


def _dig(machine: Machine, *question: str) -> str:
    text = machine.run("dig", "+search", "+noall", "+answer", "+comments", *question)
    answers = [line.split()[-1] for line in text.splitlines() if line and not line.startswith(";")]
    return " ".join(answers) or text.partition("status: ")[2].partition(",")[0]


def names(sandbox: Sandbox, asker: str, named: str, foreign: str) -> Iterator[Shown]:
    """`asker` finds its neighbour `named` by name and address, nobody of `foreign`'s network, and the Internet."""
    machine = sandbox.site.machines[asker]
    neighbor, stranger = sandbox.machine(named), sandbox.machine(foreign)
    yield Shown(f"{asker}: dig {neighbor.hostname}", neighbor.address, _dig(machine, neighbor.hostname))
    yield Shown(f"{asker}: dig -x {neighbor.address}", f"{neighbor.dns_name}.", _dig(machine, "-x", neighbor.address))
    yield Shown(f"{asker}: dig {stranger.dns_name}", UNKNOWN, _dig(machine, stranger.dns_name))
    yield Shown(f"{asker}: dig www.example.com", SERVER, _dig(machine, "www.example.com"))


def drive(sandbox: Sandbox, server: FileServer, address: str, owners: list[str], others: list[str]) -> Iterator[Shown]:
    """The drive at `address` is read and written over NFS and SMB by `owners`, and not reached by `others`."""
    at, text = f"nfs://{address}/{SHARE}", "for the whole office"
    (server.directory / "readme").write_text(text)
    for name in owners:
        machine = sandbox.site.machines[name]
        yield Shown(f"{name}: nfs-cat {at}/readme", text, _output(machine, "nfs-cat", f"{at}/readme?version=4"))
        listing = _output(machine, "smbclient", "-N", f"//{address}/{SHARE}", "-c", f"put /etc/hostname from-{name}")
        written = (server.directory / f"from-{name}").exists()
        yield Shown(f"{name}: smbclient //{address}/{SHARE} put", "written", "written" if written else listing)
    for name in others:
        yield Shown(f"{name}: who is at {address}?", NOBODY, _who(sandbox.site.machines[name], address))


def _output(machine: Machine, *command: str) -> str:
    try:
        return machine.run(*command, seconds=20).strip()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return str(error)
