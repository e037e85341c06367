"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli.timespec import parse

NOW = datetime(2026, 11, 23, 14, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOW),
        ("2026-11-23T13:00:00Z", datetime(2026, 11, 23, 13, tzinfo=UTC)),
        ("2026-11-23T13:00:00+02:00", datetime(2026, 11, 23, 11, tzinfo=UTC)),
        ("2026-11-23 13:00", datetime(2026, 11, 23, 13, tzinfo=UTC)),
        ("1795442700", datetime.fromtimestamp(1795442700, UTC)),
        ("10 minutes ago", datetime(2026, 11, 23, 13, 55, tzinfo=UTC)),
        ("1 hour ago", datetime(2026, 11, 23, 13, 5, tzinfo=UTC)),
        ("90s ago", datetime(2026, 11, 23, 14, 3, 30, tzinfo=UTC)),
        ("2d ago", datetime(2026, 11, 21, 14, 5, tzinfo=UTC)),
    ],
)
def test_moments(text: str, moment: datetime) -> None:
    assert parse(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "10 fortnights ago", "2026-13-01", "9" * 30, "-5"])
def test_what_is_no_moment_names_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        parse(text, NOW)
