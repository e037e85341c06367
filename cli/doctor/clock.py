"""The clock: whether it is synchronised."""

from __future__ import annotations

from cli.doctor.finding import Finding, ok, warning
from cli.doctor.tools import output_of

CHECK = "clock"


def gather() -> str:
    """`yes` or `no` of timedatectl(1); empty when it cannot be asked."""
    return (output_of("timedatectl", "show", "--property=NTPSynchronized", "--value") or "").strip()


def judge(synchronised: str) -> list[Finding]:
    """The translation log tells by the clock who had an address and port."""
    if synchronised == "yes":
        return [ok(CHECK, "synchronised")]
    what = "not synchronised" if synchronised == "no" else "unknown whether it is synchronised"
    advice = "apt install chrony; certificates and `sluicectl who --at` go by the clock"
    return [warning(CHECK, what, advice)]
