"""What the tests on a real host read from pings, control files and results."""

from __future__ import annotations

from images import relations
from lab import read_pings
from results import outcomes, table

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


REPORT = """<testsuites><testsuite name="pytest">
<testcase classname="tests.mininet.test_nat" name="test_one" time="1.5"/>
<testcase classname="tests.mininet.test_nat" name="test_two" time="60"><failure>said no</failure></testcase>
<testcase classname="tests.mininet.test_path_mtu.TestNarrow" name="test_five" time="2"/>
<testcase classname="tests.mininet.test_dhcp" name="test_three" time="9.6"><skipped message="why"/></testcase>
<testcase classname="tests.mininet.test_names" name="test_four" time="0"><error>no world</error></testcase>
</testsuite></testsuites>"""


def test_outcomes_of_modules_are_read_from_a_report() -> None:
    found = outcomes(REPORT, "mininet")
    assert {module: outcome.cell for module, outcome in found.items()} == {
        "mininet/test_nat": "1 passed, 1 failed (62 s)",
        "mininet/test_dhcp": "1 skipped (10 s)",
        "mininet/test_path_mtu": "1 passed (2 s)",
        "mininet/test_names": "1 failed (0 s)",
    }
    assert [module for module, outcome in found.items() if not outcome.passed] == [
        "mininet/test_nat",
        "mininet/test_names",
    ]
    assert "said no" in found["mininet/test_nat"].failures


def test_a_table_has_a_column_for_each_datapath_and_release() -> None:
    results = {
        "test_nat": {"system bookworm": "3 passed, 1 failed (61 s)"},
        "test_dhcp": {"netdev bookworm": "16 passed (10 s)"},
    }
    assert table(results).splitlines() == [
        "| module | netdev bookworm | system bookworm |",
        "|---|---|---|",
        "| test_dhcp | 16 passed (10 s) |  |",
        "| test_nat |  | 3 passed, 1 failed (61 s) |",
    ]
