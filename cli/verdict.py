"""What becomes of a traced packet, in one line: from the text of `explain.translate_trace`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_OUTPUT = re.compile(r"^\s+output:\"?([^\s\"]+)\"?$")
_BACK = re.compile(r"^\s+IN_PORT$")
_DROP = re.compile(r"^\s+drop: ([\w-]+), (.*)$")
_ANSWERED = re.compile(r"CONTROLLER:\d+: ([\w-]+), (.*)$")
_NUMBER = re.compile(r"\b(output:|in_port=)(\d+)\b")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a packet leaves (`ports`), or why it does not: the word and the sentence of a reason."""

    ports: tuple[str, ...] = ()
    reason: str = ""
    sentence: str = ""

    @property
    def delivered(self) -> bool:
        """Whether it leaves at all."""
        return bool(self.ports)

    def __str__(self) -> str:
        if self.ports:
            return f"verdict: leaves by {', '.join(self.ports)}"
        return f"verdict: dropped: {self.reason}, {self.sentence}" if self.reason else "verdict: dropped"


def named(text: str, ports: Mapping[int, str]) -> str:
    """The trace with names of ports for their numbers."""
    return _NUMBER.sub(lambda found: found[1] + ports.get(int(found[2]), found[2]), text)


def judge(text: str, arrival: str) -> Verdict:
    """The verdict of a trace with names of ports, of a packet that came by port `arrival`."""
    ports: dict[str, None] = {}
    reason = sentence = ""
    for line in text.splitlines():
        if found := _OUTPUT.match(line):
            ports[found[1]] = None
        elif _BACK.match(line):
            ports[arrival] = None
        elif found := _DROP.match(line) or _ANSWERED.search(line):
            reason, sentence = found[1], found[2]
        elif "skipping output to input port" in line:
            ports.pop(arrival, None)
    return Verdict(tuple(ports)) if ports else Verdict((), reason, sentence)
