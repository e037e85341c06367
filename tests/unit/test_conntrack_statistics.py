"""Statistics of the kernel's conntrack are summed over CPUs, by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.registry import CollectorRegistry

from controller import metrics
from controller.conntrack import statistics

# Of Linux 6.1 with two CPUs.
TEXT = """\
entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart
00000012  00000000 00000000 00000000 00000003 00000000 00000000 00000001 00000000 00000010 00000011 00000001 00000000  00000000 00000000 00000000 00000000
00000012  00000000 00000000 00000000 00000000 00000000 00000000 00000002 00000000 0000000a 0000000a 00000000 00000000  00000000 00000000 00000000 00000000
"""  # noqa: E501


def test_counters_are_summed_over_cpus() -> None:
    assert statistics.parse(TEXT) == {"insert_failed": 26, "drop": 27, "early_drop": 1}


def test_a_missing_counter_is_an_error() -> None:
    with pytest.raises(ValueError, match="early_drop"):
        statistics.parse(TEXT.replace("early_drop", "other"))


def test_the_metric_is_by_counter_and_empty_without_conntrack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "nf_conntrack"
    monkeypatch.setattr(statistics, "PATH", file)
    registry = CollectorRegistry()
    registry.register(metrics.ConntrackCollector())
    assert registry.get_sample_value("sluice_conntrack_total", {"counter": "insert_failed"}) is None
    file.write_text(TEXT)
    assert registry.get_sample_value("sluice_conntrack_total", {"counter": "insert_failed"}) == 26
