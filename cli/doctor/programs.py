"""Programs of other packages, which are recommended and not required: strongSwan, nftables, FRR."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from cli.doctor.finding import Finding, ok, warning
from daemons.programs import CHARON, FRR_DAEMONS, FRR_PACKAGES, FRR_PROGRAM, NFT, VPN_PACKAGES

CHECK = "programs"


@dataclass(frozen=True, slots=True)
class Use:
    """What some programs are for, and Debian's packages of them."""

    what: str
    programs: tuple[str, ...]
    packages: str


USES = (
    Use("VPN gateways", (CHARON, NFT), VPN_PACKAGES),
    Use("interconnects", tuple(map(FRR_PROGRAM.format, FRR_DAEMONS)), FRR_PACKAGES),
)


def gather() -> frozenset[str]:
    """Those of the programs that are installed."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return frozenset(name for use in USES for name in use.programs if shutil.which(name, path=path))


def judge(installed: frozenset[str]) -> list[Finding]:
    """A finding for each use."""
    found = []
    for use in USES:
        absent = [name for name in use.programs if name not in installed]
        if absent:
            found.append(warning(CHECK, f"no {', '.join(absent)}: no {use.what}", f"apt install {use.packages}"))
        else:
            found.append(ok(CHECK, f"{use.what} have what they need"))
    return found
