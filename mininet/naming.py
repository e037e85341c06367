"""What machines of the sandbox of `make run` are told about names, by `dig`."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox import Sandbox

UNKNOWN = "NXDOMAIN"


@dataclass(frozen=True, slots=True)
class Told:
    """One question of one machine: what it was told and what it should be."""

    machine: str
    question: str
    answer: str
    expected: str

    def line(self) -> str:
        """As it is shown."""
        wrong = "" if self.answer == self.expected else f"   expected {self.expected}"
        return f"{self.machine:9} dig {self.question:24} {self.answer}{wrong}"


def ask_names(sandbox: Sandbox, hosts: dict[str, tuple[str, str]]) -> list[Told]:
    """A question each about a name of one's own, of the other, of the Internet, and an address.

    `hosts` maps two machines that ask to the network of each and its machine
    called db1.
    """
    told = []
    for (asker, (network, db1)), (other, _) in zip(hosts.items(), list(hosts.values())[::-1], strict=True):
        address = sandbox.site.machines[db1].address
        for question, expected in (
            ("db1", address),
            (f"db1.{network}.internal", address),
            (f"-x {address}", f"db1.{network}.internal."),
            (f"db1.{other}.internal", UNKNOWN),
            ("www.example.com", "198.51.100.1"),
        ):
            told.append(Told(asker, question, _dig(sandbox, asker, question), expected))
    return told


def _dig(sandbox: Sandbox, asker: str, question: str) -> str:
    machine = sandbox.site.machines[asker]
    text = machine.run("dig", "+search", "+noall", "+answer", "+comments", *question.split())
    answers = [line.split()[-1] for line in text.splitlines() if line and not line.startswith(";")]
    status = text.partition("status: ")[2].partition(",")[0]
    return " ".join(answers) or status
