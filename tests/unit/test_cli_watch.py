"""`sluicectl … watch` goes on after the API was away: nothing twice, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from fake_api import FakeApi, Sluicectl, api, office, sluicectl

from agent.store import Store
from cli.vpn.connections import _uncounted
from cli.watching import Shown
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import network_pb2 as networks
from sluice.v1 import public_address_pb2 as addresses
from sluice.v1 import vpn_connection_pb2 as connections
from sluice.v1.status_pb2 import CREATED, DELETED, EXISTING, SYNCED, UPDATED, ChangeType
from tests.agents import ROOT, Api, Database, machine, network, public_address, served
from tests.dummy_switch import wait_until

__all__ = ["api", "sluicectl"]


class Watch:
    """A `sluicectl … watch -o json` on its own; `events` and `notes` grow as it writes."""

    def __init__(self, target: str, *command: str) -> None:
        code = "from cli.main import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *command, "--api", target, "-o", "json"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}", "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self.events: list[tuple[str, str]] = []
        self.notes: list[str] = []
        for reader in (self._read_events, self._read_notes):
            threading.Thread(target=reader, daemon=True).start()

    def _read_events(self) -> None:
        for line in self.process.stdout or ():
            event = json.loads(line)
            (one,) = [event[field] for field in event if field != "type"] or [{"name": ""}]
            self.events.append((event["type"], one["name"].rpartition("/")[2]))

    def _read_notes(self) -> None:
        for line in self.process.stderr or ():
            # After Ctrl-C the line of the prompt is ended.
            if line.strip():
                self.notes.append(line)

    def taken(self, *wanted: tuple[str, str]) -> None:
        """Wait for these events in this order, and that there are no others before them; forget them."""
        wait_until(lambda: len(self.events) >= len(wanted), 20, what=f"events {wanted}, have {self.events}")
        assert tuple(self.events[: len(wanted)]) == wanted
        del self.events[: len(wanted)]

    def noted(self, text: str) -> None:
        """Wait for a note on stderr."""
        wait_until(lambda: any(text in note for note in self.notes), 20, what=f"{text!r} in {self.notes}")

    def interrupted(self) -> int:
        """Its exit code after Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)


@contextmanager
def watch(target: str, *command: str) -> Iterator[Watch]:
    started = Watch(target, *command)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


@pytest.fixture
def other(store: Store) -> Iterator[Api]:
    """Another agent on the same database, which stays."""
    with served(store) as made:
        yield made


def _delete(other: Api, name: str) -> None:
    other.networks.DeleteNetwork(networks.DeleteNetworkRequest(name=f"networks/{name}"))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "restarted"])
def test_a_watch_outlives_its_agent(server: Database, other: Api, end: signal.Signals) -> None:
    for name in ("kept", "changed", "gone", "again"):
        other.networks.CreateNetwork(network(name))
    target = f"unix:{server.directory}/watched.sock"
    agent = server.spawn_agent("watched")
    wait_until(lambda: _answers(target), 20, what="agent")
    with watch(target, "networks", "watch") as watching:
        watching.taken(*(("EXISTING", name) for name in ("again", "changed", "gone", "kept")), ("SYNCED", ""))
        agent.send_signal(end)
        agent.wait()
        watching.noted("the watch is interrupted")
        _delete(other, "gone")
        _delete(other, "again")
        other.networks.CreateNetwork(network("again"))
        other.networks.CreateNetwork(network("new"))
        changed = networks.Network(name="networks/changed", search_domain="corp.example")
        other.networks.UpdateNetwork(networks.UpdateNetworkRequest(network=changed))
        agent = server.spawn_agent("watched")
        watching.noted("is back;")
        watching.taken(
            ("DELETED", "again"), ("CREATED", "again"), ("UPDATED", "changed"), ("CREATED", "new"), ("DELETED", "gone")
        )  # fmt: skip
        # What comes now is shown once more as it comes, after a second restart too.
        agent.send_signal(end)
        agent.wait()
        agent = server.spawn_agent("watched")
        wait_until(lambda: sum("is back;" in note for note in watching.notes) == 2, 20, what="second return")
        other.networks.CreateNetwork(network("last"))
        watching.taken(("CREATED", "last"))
        assert watching.interrupted() == 130
        assert (watching.events, len(watching.notes)) == ([], 4)
    agent.kill()


def _answers(target: str) -> bool:
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            Api(channel).networks.ListNetworks(networks.ListNetworksRequest(), timeout=1)
        except grpc.RpcError:
            return False
        return True


def test_ctrl_c_ends_a_watch_while_the_api_is_away(server: Database, other: Api) -> None:
    target = f"unix:{server.directory}/watched.sock"
    agent = server.spawn_agent("watched")
    wait_until(lambda: _answers(target), 20, what="agent")
    with watch(target, "machines", "watch") as watching:
        watching.taken(("SYNCED", ""))
        agent.kill()
        agent.wait()
        watching.noted("the watch is interrupted and goes on when the API is back")
        assert watching.interrupted() == 130


@pytest.mark.parametrize(
    "command",
    [
        ("machines", "watch", "--network", "UP"),
        ("addresses", "watch", "UP"),
        ("vpn", "gateways", "watch", "--network", "UP"),
    ],
)
def test_a_wrong_request_ends_at_once(other: Api, server: Database, command: tuple[str, ...]) -> None:
    with watch(f"unix:{server.directory}/agent.sock", *command) as watching:
        assert watching.process.wait(10) == 1
        watching.noted("INVALID_ARGUMENT")


def test_nobody_at_first_ends_at_once(server: Database) -> None:
    with watch(f"unix:{server.directory}/nobody.sock", "networks", "watch") as watching:
        assert watching.process.wait(10) == 3
        watching.noted("UNAVAILABLE")


def test_addresses_and_drives_are_watched(other: Api, server: Database) -> None:
    other.networks.CreateNetwork(network("office"))
    other.machines.CreateMachine(machine("pc", "office"))
    with watch(f"unix:{server.directory}/agent.sock", "addresses", "watch") as watching:
        watching.taken(("SYNCED", ""))
        other.public_addresses.CreatePublicAddress(public_address("www", machine="pc"))
        watching.taken(("CREATED", "www"))
        other.public_addresses.DeletePublicAddress(addresses.DeletePublicAddressRequest(name="publicAddresses/www"))
        watching.taken(("DELETED", "www"))
        other.machines.DeleteMachine(machines.DeleteMachineRequest(name="machines/pc"))
    with watch(f"unix:{server.directory}/agent.sock", "drives", "watch", "--network", "office") as watching:
        watching.taken(("SYNCED", ""))


def kinds(shown: Shown[Any], *events: networks.NetworkEvent) -> list[str]:
    found = [news for event in events for news in shown.news(event)]
    return [f"{ChangeType.Name(one.type)} {one.network.name.rpartition('/')[2]}".strip() for one in found]


def event(kind: ChangeType, name: str = "", **changes: Any) -> networks.NetworkEvent:
    one = office(name=f"networks/{name}", **changes) if name else None
    return networks.NetworkEvent(type=kind, network=one)


def test_a_stream_that_ends_before_all_that_exists_was_shown_goes_on_with_the_rest() -> None:
    shown: Shown[Any] = Shown("network", lambda one: one)
    shown.begin()
    assert kinds(shown, event(EXISTING, "a"), event(EXISTING, "b")) == ["EXISTING a", "EXISTING b"]
    shown.begin()
    # `b` was deleted meanwhile; `c` existed before the watch, for all one knows.
    second = kinds(shown, event(EXISTING, "a"), event(EXISTING, "c"), event(SYNCED))
    assert second == ["EXISTING c", "DELETED b", "SYNCED"]
    shown.begin()
    assert kinds(shown, event(EXISTING, "a"), event(EXISTING, "c"), event(SYNCED)) == []
    assert kinds(shown, event(UPDATED, "a", mtu=1400), event(DELETED, "c"), event(CREATED, "d")) == [
        "UPDATED a", "DELETED c", "CREATED d",
    ]  # fmt: skip
    shown.begin()
    assert kinds(shown, event(EXISTING, "a", mtu=1400), event(EXISTING, "d"), event(SYNCED)) == []


def test_counters_alone_are_no_news() -> None:
    def existing(count: int, **tunnel: Any) -> connections.VpnConnectionEvent:
        one = connections.VpnConnection(name="vpnConnections/hq")
        one.tunnel.CopyFrom(connections.VpnTunnel(bytes_in=count, packets_out=count, **tunnel))
        return connections.VpnConnectionEvent(type=EXISTING, vpn_connection=one)

    shown: Shown[Any] = Shown("vpn_connection", _uncounted)
    for count, tunnel, news in ((1, {}, 1), (2, {}, 0), (3, {"last_error": "x"}, 1)):
        shown.begin()
        assert len(list(shown.news(existing(count, **tunnel)))) == news
        assert list(shown.news(connections.VpnConnectionEvent(type=SYNCED))) or count > 1


def test_a_stream_that_the_api_ends_in_order_ends_the_watch(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.networks["networks/office"] = office()
    done = sluicectl("networks", "watch")
    assert (done.code, len(api.requests)) == (0, 1)
