"""What sluice-host-setup changes: each wrong setting, nothing twice; and what it leaves to the operator."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from agent.config import parse
from agent.host import kernel, setup
from agent.host.kernel import (
    AGGREGATIONS,
    CONNTRACK_BUCKETS,
    CONNTRACK_MAX,
    FRAGMENT_MEMORY,
    FRAGMENT_SECONDS,
    Device,
    KernelError,
    offloads,
)
from agent.host.setup import FRAGMENTS, MODULES, HostFacts, Load, TurnOff, Write, changes, problems, set_up

CONFIG = parse("""
[gateway]
port = "eth1"
address = "203.0.113.2/24"
next_hop = "203.0.113.1"
mtu = 1500
[storage]
port = "eth2"
address = "10.250.0.2/24"
mtu = 9000
[pools]
nat = ["203.0.113.7"]
[conntrack]
max_entries = 1000000
""")
USERSPACE = replace(CONFIG, bridge=replace(CONFIG.bridge, datapath_type="netdev"))
UPLINK, DISKS = Device("eth1", 1500, carrier=True), Device("eth2", 9000, carrier=True)
RIGHT = HostFacts(frozenset(MODULES), 1_000_000, 1_000_448, (UPLINK, DISKS), FRAGMENTS)


def test_a_host_as_configured_is_left_alone() -> None:
    assert changes(RIGHT, CONFIG) == []
    assert [*problems(RIGHT, CONFIG)] == []


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        (replace(RIGHT, modules=frozenset({"nf_conntrack"})), Load("openvswitch")),
        (replace(RIGHT, modules=frozenset({"openvswitch"})), Load("nf_conntrack")),
        (replace(RIGHT, max_entries=65_536), Write(CONNTRACK_MAX, 1_000_000, 65_536)),
        (replace(RIGHT, max_entries=2_000_000), Write(CONNTRACK_MAX, 1_000_000, 2_000_000)),
        (replace(RIGHT, buckets=65_536), Write(CONNTRACK_BUCKETS, 1_000_448, 65_536)),
        (replace(RIGHT, fragments={**FRAGMENTS, FRAGMENT_MEMORY: 4 << 20}), Write(FRAGMENT_MEMORY, 128 << 20, 4 << 20)),
        (replace(RIGHT, fragments={**FRAGMENTS, FRAGMENT_SECONDS: 30}), Write(FRAGMENT_SECONDS, 5, 30)),
        (replace(RIGHT, devices=(replace(UPLINK, aggregations=AGGREGATIONS[:1]), DISKS)),
         TurnOff("eth1", "large-receive-offload")),
        (replace(RIGHT, devices=(UPLINK, replace(DISKS, aggregations=AGGREGATIONS[1:]))), TurnOff("eth2", "rx-gro-hw")),
    ],
)  # fmt: skip
def test_each_wrong_setting_is_changed_and_nothing_else(facts: HostFacts, wanted: setup.Change) -> None:
    assert changes(facts, CONFIG) == [wanted]


def test_without_the_module_there_is_nothing_to_write_yet() -> None:
    bare = replace(RIGHT, modules=frozenset(), max_entries=None, buckets=None)
    assert changes(bare, CONFIG) == [Load(module) for module in MODULES]


def test_the_userspace_datapath_needs_nothing_of_the_kernel_but_its_ports() -> None:
    joined = replace(UPLINK, aggregations=AGGREGATIONS[:1])
    facts = HostFacts(frozenset(), 65_536, 65_536, (joined, DISKS))
    assert changes(facts, USERSPACE) == [TurnOff("eth1", "large-receive-offload")]


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        ((DISKS,), "port eth1 does not exist yet"),
        ((UPLINK, replace(DISKS, mtu=1500)), "port eth2 has MTU 1500, configured is 9000"),
        ((replace(UPLINK, aggregations=AGGREGATIONS[:1], fixed=AGGREGATIONS[:1]), DISKS), "cannot turn large-receive"),
    ],
)
def test_what_is_left_to_the_operator_is_said_and_nothing_is_tried(devices: tuple[Device, ...], says: str) -> None:
    facts = replace(RIGHT, devices=devices)
    (problem,) = problems(facts, CONFIG)
    assert says in problem
    assert changes(facts, CONFIG) == []


WRITES = [*MODULES, "ipfrag_high_thresh", "ipfrag_time", "hashsize", "nf_conntrack_max"]


class Host:
    """A host in memory: settings of connection tracking appear with its module."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, refuses: str = "") -> None:
        self.modules: set[str] = set()
        self.numbers = {
            CONNTRACK_MAX: 65_536,
            CONNTRACK_BUCKETS: 65_536,
            FRAGMENT_MEMORY: 4 << 20,
            FRAGMENT_SECONDS: 30,
        }
        self.writes: list[str] = []
        self.refuses = refuses
        monkeypatch.setattr(kernel, "is_loaded", self.modules.__contains__)
        monkeypatch.setattr(kernel, "load", self.load)
        monkeypatch.setattr(kernel, "number", self.number)
        monkeypatch.setattr(kernel, "write", self.write)
        monkeypatch.setattr(kernel, "device", {"eth1": UPLINK, "eth2": DISKS}.get)

    def number(self, path: Path) -> int | None:
        return self.numbers[path] if path in FRAGMENTS or "nf_conntrack" in self.modules else None

    def load(self, module: str) -> None:
        self.writes.append(module)
        if module == self.refuses:
            raise KernelError(f"modprobe {module}: not found")
        self.modules.add(module)

    def write(self, path: Path, value: int) -> None:
        self.writes.append(path.name)
        self.numbers[path] = value


def test_a_bare_host_is_set_up_in_one_run_and_the_next_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    assert set_up(CONFIG)
    assert host.writes == WRITES
    assert host.numbers == {CONNTRACK_MAX: 1_000_000, CONNTRACK_BUCKETS: 1_000_448, **FRAGMENTS}
    assert set_up(CONFIG)
    assert host.writes == WRITES


def test_what_fails_is_tried_once_logged_and_the_rest_is_done(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host(monkeypatch, refuses="openvswitch")
    with caplog.at_level(logging.INFO):
        assert not set_up(CONFIG)
    assert host.writes == WRITES
    assert [record.levelname for record in caplog.records].count("ERROR") == 1


def test_features_are_read_as_ethtool_prints_them() -> None:
    text = "Features for eth0:\nlarge-receive-offload: off [fixed]\ntcp-segmentation-offload: on\n\trx-gro-hw: on\n"
    assert offloads(text) == {
        "large-receive-offload": "off [fixed]", "tcp-segmentation-offload": "on", "rx-gro-hw": "on",
    }  # fmt: skip


def test_built_in_modules_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = tmp_path / "modules.builtin"
    monkeypatch.setattr(kernel, "BUILT_IN", listing)
    assert not kernel.is_loaded("no-such-module")
    listing.write_text("kernel/net/no-such-module.ko\nkernel/fs/ext4.ko\n")
    assert kernel.is_loaded("no_such_module")
    assert not kernel.is_loaded("such")


def test_a_missing_device_is_none_and_loopback_has_carrier() -> None:
    assert kernel.device("no-such-device0") is None
    found = kernel.device("lo")
    assert found is not None
    assert found.mtu > 1500


def test_a_write_that_is_refused_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="No such file"):
        kernel.write(tmp_path / "none" / "file", 1)
    kernel.write(tmp_path / "file", 5)
    assert kernel.number(tmp_path / "file") == 5
