"""Limits of networks and machines: options of `create` and `set`, and how they are shown."""

from __future__ import annotations

import click

from cli.integers import INT64
from cli.options import options
from sluice.v1 import limits_pb2

_FIELDS = ("public_kbps", "storage_kbps")


limit_options = options(
    click.option("--public-rate", type=INT64, metavar="KBITPS",
                 help="Most traffic to and from the Internet, each way, in kbit/s; 0: the appliance's default."),
    click.option("--storage-rate", type=INT64, metavar="KBITPS",
                 help="Most traffic to and from shared drives, each way, in kbit/s; 0: the appliance's default."),
)  # fmt: skip


def limits(public_rate: int | None, storage_rate: int | None) -> limits_pb2.Limits | None:
    """The message, in which what is not given is 0; None where nothing is given."""
    if public_rate is None and storage_rate is None:
        return None
    return limits_pb2.Limits(public_kbps=public_rate or 0, storage_kbps=storage_rate or 0)


def paths(public_rate: int | None, storage_rate: int | None) -> list[str]:
    """Of an update mask, for what is given."""
    given = zip(_FIELDS, (public_rate, storage_rate), strict=True)
    return [f"limits.{field}" for field, rate in given if rate is not None]


def shown(found: limits_pb2.Limits) -> list[tuple[str, object]]:
    """Rows for people."""
    rates = (("to the Internet", found.public_kbps), ("to drives", found.storage_kbps))
    return [(label, f"{rate:,} kbit/s" if rate else "") for label, rate in rates]
