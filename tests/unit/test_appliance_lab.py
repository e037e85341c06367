"""What the tests on a real host read from pings, control files and results."""

from __future__ import annotations

from images import relations
from lab import read_pings
from results import table

LOG = """PING 198.51.100.1 (198.51.100.1) 56(84) bytes of data.
[100.0] 64 bytes from 198.51.100.1: icmp_seq=1 ttl=63 time=1 ms
[100.2] no answer yet for icmp_seq=2
[100.4] no answer yet for icmp_seq=3
[100.5] 64 bytes from 198.51.100.1: icmp_seq=3 ttl=63 time=100 ms
[100.6] From 10.0.0.1 icmp_seq=4 Destination Host Unreachable
[101.5] 64 bytes from 198.51.100.1: icmp_seq=5 ttl=63 time=1 ms
"""


def test_a_late_reply_is_none_that_was_lost() -> None:
    pings = read_pings(LOG)
    assert pings.lost == 2
    assert pings.longest_gap == 1.0


def test_names_of_a_control_file() -> None:
    control = "Package: x\nDepends: a (>= 1), b | c,\n d, ${misc:Depends}\nRecommends: e\nSuggests: f\n"
    assert relations(control, ("Depends", "Recommends")) == ["a", "b", "d", "e"]


def test_a_table_has_a_column_for_each_datapath_and_release() -> None:
    results = {
        "test_nat": {"system bookworm": "3 passed, 1 failed in 61.20s (0:01:01)"},
        "test_dhcp": {"netdev bookworm": "16 passed in 9.60s"},
    }
    assert table(results).splitlines() == [
        "| module | netdev bookworm | system bookworm |",
        "|---|---|---|",
        "| test_dhcp | 16 passed (10 s) |  |",
        "| test_nat |  | 3 passed, 1 failed (61 s) |",
    ]
