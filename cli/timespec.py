"""Moments as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

FORMS = "2026-11-23T14:05:00Z (RFC 3339), 1795442700 (seconds since the epoch), `10 minutes ago`, `now`"

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_SHORT = {"s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day", "w": "week"}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+?)s?\s+ago")


def parse(text: str, now: datetime) -> datetime:
    """A moment in UTC; a time without a zone is UTC. Raises ValueError naming the forms allowed."""
    wanted = text.strip().lower()
    if wanted == "now":
        return now
    if found := _AGO.fullmatch(wanted):
        seconds = _UNITS.get(_SHORT.get(found[2] or "", found[2]))
        if seconds is not None:
            return now - timedelta(seconds=float(found[1]) * seconds)
    try:
        if re.fullmatch(r"\d+(\.\d+)?", wanted):
            return datetime.fromtimestamp(float(wanted), UTC)
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is no moment; allowed: {FORMS}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
