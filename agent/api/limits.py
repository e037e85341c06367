"""Limits of networks and machines in update masks."""

from __future__ import annotations

from collections.abc import Set

from sluice.v1 import limits_pb2

PATHS = ("limits.public_kbps", "limits.storage_kbps")


def changed(limits: limits_pb2.Limits, paths: Set[str]) -> tuple[int | None, int | None]:
    """The public and the storage rate that `paths` say are to be set, in kbit/s; None leaves the old one."""
    public, storage = (bool(paths & {"limits", path}) for path in PATHS)
    return limits.public_kbps if public else None, limits.storage_kbps if storage else None
