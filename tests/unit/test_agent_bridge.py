"""The bridge driver against a real Open_vSwitch database: makes, mends, repeats, and comes back."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from agent import metrics
from agent.host.bridge import (
    COLUMNS,
    Bridge,
    BridgeDriver,
    Datapath,
    bridge_operations,
    reported_datapath,
)
from daemons import bridge_ports
from daemons.bridge_ports import port_operations
from state.ovsdb import OvsdbClient
from tests.agents import Database, switch_database
from tests.dummy_switch import dummy_switch, wait_until

WANTED = Bridge("br-test", "netdev", "/run/test/of.sock", ("uplink-of-test",))


@pytest.fixture
def server() -> Iterator[Database]:
    with switch_database() as made:
        vsctl(made, "init")
        yield made


@pytest.fixture
def driver(server: Database) -> Iterator[BridgeDriver]:
    # The metric is the process's: one before this may have settled.
    metrics.BRIDGE_SETTLED.set(0)
    made = BridgeDriver(server.socket)
    yield made
    made.stop()


def vsctl(server: Database, *arguments: str) -> str:
    command = ["ovs-vsctl", f"--db=unix:{server.socket}", "--no-wait", "--timeout=10", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def settled() -> bool:
    return bool(metrics.BRIDGE_SETTLED._value.get())


def rows(server: Database) -> dict[str, dict[str, Any]]:
    """Everything the driver looks at, as it is given to it."""
    found: dict[str, dict[str, Any]] = {table: {} for table in COLUMNS}
    client = OvsdbClient(server.socket, "Open_vSwitch")
    client.monitor(COLUMNS, lambda changes, _: [found[c.table].update({c.uuid: c.new}) for c in changes] and None)
    client.wait_connected(5)
    client.close()
    return found


def missing(server: Database, wanted: Bridge = WANTED) -> list[Any]:
    return bridge_operations(rows(server), wanted)


def test_an_empty_database_gets_a_bridge_with_every_setting(server: Database, driver: BridgeDriver) -> None:
    driver.set(WANTED)
    wait_until(lambda: not missing(server))
    assert vsctl(server, "list-br") == "br-test"
    shown = {
        column: vsctl(server, "get", "Bridge", "br-test", column)
        for column in ("datapath_type", "fail_mode", "protocols", "other_config")
    }
    assert shown == {
        "datapath_type": "netdev",
        "fail_mode": "secure",
        "protocols": "[OpenFlow10, OpenFlow13, OpenFlow14, OpenFlow15]",
        "other_config": '{disable-in-band="true"}',
    }
    controller = [vsctl(server, "get", "Controller", "br-test", column)
                  for column in ("target", "type", "connection_mode", "inactivity_probe", "max_backoff")]  # fmt: skip
    assert controller == ['"unix:/run/test/of.sock"', "service", "out-of-band", "5000", "1000"]
    assert vsctl(server, "get", "Interface", "br-test", "type") == "internal"
    assert "Zone:1, Timeout Policies:" in vsctl(server, "list-zone-tp", "netdev")
    assert "tcp_established=7440" in vsctl(server, "list-zone-tp", "netdev")


def test_what_others_change_is_mended_and_what_is_theirs_is_kept(server: Database, driver: BridgeDriver) -> None:
    driver.set(WANTED)
    wait_until(lambda: not missing(server))
    vsctl(server, "add-port", "br-test", "tap1", "--", "set", "Bridge", "br-test", "other_config:mac-aging-time=7")
    for change in (
        ("set-fail-mode", "br-test", "standalone"),
        ("set", "Bridge", "br-test", "protocols=OpenFlow13", "datapath_type=system"),
        ("del-controller", "br-test"),
        ("set-controller", "br-test", "tcp:127.0.0.1:6653", "tcp:127.0.0.1:6654"),
        ("set", "Controller", "br-test", "connection_mode=in-band", "max_backoff=9000", "type=primary"),
        ("remove", "Bridge", "br-test", "other_config", "disable-in-band"),
        ("del-zone-tp", "netdev", "zone=1"),
        ("add-zone-tp", "netdev", "zone=9", "tcp_close=3"),
    ):
        vsctl(server, *change)
        wait_until(lambda: not missing(server), what=str(change))
    assert vsctl(server, "list-ports", "br-test") == "tap1"
    assert vsctl(server, "get", "Bridge", "br-test", "other_config:mac-aging-time") == '"7"'
    assert "Zone:9" in vsctl(server, "list-zone-tp", "netdev")
    vsctl(server, "del-br", "br-test")
    wait_until(lambda: not missing(server))


def test_repeats_change_nothing(server: Database, driver: BridgeDriver) -> None:
    driver.set(WANTED)
    wait_until(lambda: not missing(server))
    before = subprocess.run(
        ["ovsdb-client", "dump", f"unix:{server.socket}", "Open_vSwitch"], check=True, capture_output=True
    ).stdout
    driver.set(WANTED)
    driver.set(replace(WANTED))
    wait_until(lambda: not driver._changed.is_set())
    after = subprocess.run(
        ["ovsdb-client", "dump", f"unix:{server.socket}", "Open_vSwitch"], check=True, capture_output=True
    ).stdout
    assert before == after
    driver.set(replace(WANTED, timeouts={"tcp_close": 2}))
    wait_until(lambda: "tcp_close=2" in vsctl(server, "list-zone-tp", "netdev"))


def test_the_gateway_port_is_plugged_when_its_device_appears(
    server: Database, driver: BridgeDriver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver.set(WANTED)
    wait_until(lambda: "br-test" in vsctl(server, "list-br") and not settled())
    wait_until(lambda: any("does not exist" in str(getattr(r, "problem", "")) for r in caplog.records))
    monkeypatch.setattr(bridge_ports, "device_index", lambda name: 7 if name == WANTED.ports[0] else None)
    wait_until(lambda: vsctl(server, "list-ports", "br-test") == WANTED.ports[0])
    wait_until(settled)
    assert port_operations(rows(server), WANTED.name, WANTED.ports[0]) == []
    vsctl(server, "del-port", "br-test", WANTED.ports[0])
    wait_until(lambda: vsctl(server, "list-ports", "br-test") == WANTED.ports[0])


def test_each_port_is_plugged_as_soon_as_it_can_be(
    server: Database, driver: BridgeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"second": 7}
    monkeypatch.setattr(bridge_ports, "device_index", names.get)
    driver.set(replace(WANTED, ports=("first", "second")))
    wait_until(lambda: vsctl(server, "list-ports", "br-test") == "second")
    assert not settled()
    names["first"] = 8
    wait_until(lambda: vsctl(server, "list-ports", "br-test") == "first\nsecond")
    wait_until(settled)


def test_a_port_whose_device_was_made_anew_is_plugged_anew(
    server: Database, driver: BridgeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = WANTED.ports[0]
    devices: dict[str, int] = {port: 7}
    monkeypatch.setattr(bridge_ports, "device_index", devices.get)
    driver.set(WANTED)
    wait_until(settled)
    before = vsctl(server, "get", "Port", port, "_uuid")
    del devices[port]
    driver.set(WANTED)
    wait_until(lambda: not driver._changed.is_set())
    # While there is none nothing changes: the switch waits for it.
    assert vsctl(server, "get", "Port", port, "_uuid") == before
    devices[port] = 8
    wait_until(lambda: vsctl(server, "list-ports", "br-test") == "")
    wait_until(lambda: vsctl(server, "list-ports", "br-test") == port)
    assert vsctl(server, "get", "Port", port, "_uuid") != before
    wait_until(settled)


def test_a_gateway_port_that_somebody_plugged_is_left_alone(server: Database, driver: BridgeDriver) -> None:
    vsctl(server, "add-br", "br-test", "--", "add-port", "br-test", WANTED.ports[0])
    driver.set(WANTED)
    wait_until(lambda: not missing(server))
    wait_until(settled)
    assert vsctl(server, "list-ports", "br-test") == WANTED.ports[0]


def test_a_port_that_the_configuration_names_no_more_is_taken_off(
    server: Database, driver: BridgeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_ports, "device_index", lambda name: 7)
    driver.set(replace(WANTED, ports=("old-uplink", "storage")))
    wait_until(settled, what="bridge settled")
    # One of a machine, and one that the operator put there before the configuration named it.
    for port in ("machine", "new-uplink"):
        vsctl(server, "add-port", WANTED.name, port)
    driver.set(replace(WANTED, ports=("new-uplink",)))
    wait_until(lambda: ports(server) == {"machine", "new-uplink"}, what="former ports off")
    driver.set(replace(WANTED, ports=("another",)))
    wait_until(lambda: "another" in ports(server), what="another port on")
    assert ports(server) == {"machine", "new-uplink", "another"}


def test_a_port_goes_along_when_the_bridge_is_called_otherwise(
    server: Database, driver: BridgeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_ports, "device_index", lambda name: 7)
    driver.set(WANTED)
    wait_until(settled, what="bridge settled")
    vsctl(server, "add-port", WANTED.name, "machine")
    driver.set(replace(WANTED, name="br-other"))
    wait_until(lambda: vsctl(server, "list-ports", "br-other") == WANTED.ports[0], what="port on the other bridge")
    assert ports(server) == {"machine"}


def ports(server: Database) -> set[str]:
    return set(vsctl(server, "list-ports", WANTED.name).split())


def test_a_database_that_comes_back_empty_is_filled_again(server: Database, driver: BridgeDriver) -> None:
    driver.set(WANTED)
    wait_until(lambda: not missing(server))
    server.kill()
    wait_until(lambda: not driver._client.connected.is_set())
    wait_until(lambda: not settled())
    database = server.directory / "conf.db"
    database.unlink()
    subprocess.run(["ovsdb-tool", "create", str(database), "/usr/share/openvswitch/vswitch.ovsschema"], check=True)
    server.start()
    vsctl(server, "init")
    wait_until(lambda: not missing(server))


def test_without_a_database_nothing_is_raised(tmp_path: Any) -> None:
    driver = BridgeDriver(str(tmp_path / "none.sock"))
    driver.set(WANTED)
    wait_until(lambda: "cannot be reached" in driver._told)
    driver.stop()


def test_what_the_datapath_lacks_is_logged_once_it_is_reported(
    server: Database, driver: BridgeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver.set(WANTED)
    wait_until(lambda: not missing(server))
    assert reported_datapath(rows(server), "netdev") is None
    with caplog.at_level(logging.INFO):
        uuid = vsctl(server, "--bare", "--columns=_uuid", "list", "Datapath")
        vsctl(server, "set", "Open_vSwitch", ".", "ovs_version=3.5.0", "--",
              "set", "Datapath", uuid, "capabilities:recirc=true", "capabilities:check_pkt_len=false")  # fmt: skip
        wait_until(lambda: any(record.message == "datapath is limited" for record in caplog.records))
    found = reported_datapath(rows(server), "netdev")
    assert found == Datapath("3.5.0", {"recirc": "true", "check_pkt_len": "false"})
    assert [getattr(record, "capability", None) for record in caplog.records if record.levelname == "WARNING"].count(
        "check_pkt_len"
    ) == 1


def test_a_real_switch_takes_the_settings() -> None:
    with dummy_switch("br-other") as switch:
        driver = BridgeDriver(switch.ovsdb)
        try:
            driver.set(Bridge("br-mine", "dummy", str(switch.directory / "of.sock"), "uplink-of-test"))
            wait_until(lambda: "br-mine" in switch.vsctl("list-br").split())
            wait_until(lambda: (switch.directory / "br-mine.mgmt").exists(), what="the switch made the bridge")
            shown = json.loads(switch.vsctl("-f", "json", "--columns=error", "list", "Interface", "br-mine"))
            assert shown["data"] == [[["set", []]]]
            log = (switch.directory / "vswitchd.log").read_text()
            assert "|ERR|" not in log, log
        finally:
            driver.stop()
