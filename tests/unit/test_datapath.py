"""What a datapath cannot do, from what Open vSwitch reports of it."""

from __future__ import annotations

import pytest

from state.datapath import NEEDED, NETDEV, SYSTEM, Limitation, missing, remarks, version_of

ALL = {one.capability: "true" for one in NEEDED}


@pytest.mark.parametrize("one", NEEDED, ids=lambda one: one.capability)
def test_each_missing_capability_is_named(one: Limitation) -> None:
    assert missing(ALL | {one.capability: "false"}) == (one,)


def test_what_is_there_or_not_reported_is_not_missing() -> None:
    assert missing(ALL) == missing({}) == ()
    assert missing(ALL | {"explicit_drop_action": "false"}) == ()


@pytest.mark.parametrize(
    ("text", "version"), [("3.1.0", (3, 1)), ("ovs-vswitchd (Open vSwitch) 3.5.0", (3, 5)), ("unknown", None)]
)
def test_versions_are_read(text: str, version: tuple[int, int] | None) -> None:
    assert version_of(text) == version


@pytest.mark.parametrize(("datapath_type", "version", "count"), [
    (SYSTEM, "3.1.0", 1), (NETDEV, "3.5.0", 1), (NETDEV, "3.3.1", 1), (NETDEV, "3.2.9", 2), (NETDEV, "", 1),
])  # fmt: skip
def test_each_datapath_has_remarks(datapath_type: str, version: str, count: int) -> None:
    assert len(remarks(datapath_type, version)) == count
