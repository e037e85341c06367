"""A switch in memory that reads the same bytes as the real one, and what stands around a reconciler."""

from __future__ import annotations

import dataclasses
import struct
from collections import Counter
from collections.abc import Mapping

from examples import APPLIANCE, SITE

from controller.desired_state.source import DesiredStateChange
from controller.openflow import group_messages, wire
from controller.openflow.client import InstalledFlow, SwitchError
from controller.pipeline.meters import Rate, Unit
from controller.pipeline.registry import split_cookie
from controller.reconcile.commit import PEERINGS, Plan
from controller.reconcile.compile import PipelineContext, compile_network, compile_shared
from controller.reconcile.diff import installed
from controller.reconcile.events import SwitchUp
from controller.reconcile.reconciler import Reconciler
from controller.reconcile.work_queue import Progress
from state.interconnect import Interconnect
from state.model import Appliance, Network, NetworkStatus

_FLOW_MOD = struct.Struct("!8xQQBBHHH")


class FakeSwitch:
    """Flows by table, priority and match; `refuse` and `lost` make it fail, `unannounced` are ports just plugged, those
    in `down` have no link."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self.connected = True
        self.table: dict[tuple[int, int, bytes], tuple[int, bytes]] = {}
        self.meters: dict[int, Rate] = {}
        self.groups: dict[int, bytes] = {}
        self.port_numbers = dict(ports)
        self.unannounced: dict[str, int] = {}
        self.down: set[str] = set()
        self.refuse: bytes | None = None
        self.lost = False
        self.bundles: list[int] = []
        self.sent: Counter[str] = Counter()

    def ports(self) -> dict[str, int]:
        return dict(self.port_numbers)

    def ports_down(self) -> frozenset[str]:
        return frozenset(self.down)

    def read_ports(self) -> dict[str, int]:
        self._alive()
        return self.port_numbers | self.unannounced

    def read_flow_ids(self) -> set[tuple[int, int]]:
        self._alive()
        return {(table, cookie) for (table, _, _), (cookie, _) in self.table.items()}

    def read_flow_counts(self) -> dict[int, int]:
        self._alive()
        return dict(Counter(number for number, _, _ in self.table))

    def read_flows(self, table: int) -> list[InstalledFlow]:
        self._alive()
        return [
            InstalledFlow(number, priority, cookie, 0, match + rest)
            for (number, priority, match), (cookie, rest) in self.table.items()
            if number == table
        ]

    def read_meters(self) -> dict[int, Rate]:
        self._alive()
        return dict(self.meters)

    def read_groups(self) -> dict[int, bytes]:
        self._alive()
        return dict(self.groups)

    def commit(self, before: list[bytes], mods: list[bytes]) -> Mapping[int, str]:
        self._alive()
        self.send(before)
        self.bundles.append(len(mods))
        for index, mod in enumerate(mods):
            if self.refuse is not None and self.refuse in mod:
                return {len(before) + index: "OFPET_BAD_ACTION, OFPBAC_BAD_OUT_PORT"}
        for mod in mods:
            self._flow_mod(mod)
        return {}

    def send(self, messages: list[bytes]) -> None:
        self._alive()
        for message in messages:
            if message[1] == group_messages.GROUP_MOD:
                self._group_mod(message)
                continue
            assert message[1] == wire.METER_MOD
            command, flags, meter = struct.unpack_from("!HHI", message, 8)
            assert (meter in self.meters) == (command != wire.METER_ADD), f"meter {meter}"
            self.sent["meter"] += 1
            if command == wire.METER_DELETE:
                del self.meters[meter]
                using = struct.pack("!HHI", 6, 8, meter)
                for identity in [i for i, (_, rest) in self.table.items() if using in rest]:
                    del self.table[identity]
            else:
                value, burst = struct.unpack_from("!II", message, 20)
                self.meters[meter] = Rate(value, Unit(flags & ~4), burst)

    def _group_mod(self, message: bytes) -> None:
        command, number = struct.unpack_from("!H2xI", message, 8)
        assert (number in self.groups) == (command != 0), f"group {number}"
        self.sent["group"] += 1
        if command == 2:
            del self.groups[number]
            using = struct.pack("!HHI", 22, 8, number)
            for identity in [i for i, (_, rest) in self.table.items() if using in rest]:
                del self.table[identity]
        else:
            self.groups[number] = message[16:]

    def _flow_mod(self, mod: bytes) -> None:
        cookie, mask, table, command, _, _, priority = _FLOW_MOD.unpack_from(mod)
        end = 48 + struct.unpack_from("!H", mod, 50)[0]
        end += -end % 8
        if command == 0:
            self.sent["add"] += 1
            self.table[table, priority, mod[48:end]] = (cookie, mod[end:])
        else:
            assert (command, mask) == (3, 0xFFFFFFFFFFFFFFFF)
            self.sent["delete"] += 1
            gone = [i for i, (found, _) in self.table.items() if i[0] == table and found == cookie]
            for identity in gone:
                del self.table[identity]

    def _alive(self) -> None:
        if self.lost:
            raise SwitchError("connection to the switch lost")


class FakeSource:
    """Desired state as a test wrote it."""

    def __init__(self, appliance: Appliance | None, neighbors: Mapping[str, str]) -> None:
        self.appliance = appliance
        self.neighbors: dict[str, str] = dict(neighbors)
        self.by_key: dict[int, Network] = {}
        self.peerings: tuple[Interconnect, ...] = SITE.peerings
        self.forgotten: list[str] = []

    def network(self, key: int) -> Network | None:
        return self.by_key.get(key)

    def networks(self) -> list[Network]:
        return list(self.by_key.values())

    def has_network(self, name: str) -> bool:
        return any(network.name == name for network in self.by_key.values())

    def forgotten_statuses(self) -> list[str]:
        return self.forgotten


class FakeStatuses(dict[str, NetworkStatus | None]):
    """The last status of each network, and of peerings where one is cut off; and all that was said of progress."""

    def __init__(self) -> None:
        super().__init__()
        self.progress: list[Progress] = []

    def put_progress(self, progress: Progress) -> None:
        self.progress.append(progress)

    def put(self, name: str, status: NetworkStatus | None) -> None:
        if name == PEERINGS and status is None:
            self.pop(name, None)
        else:
            self[name] = status


class World:
    """One reconciler and all that is around it; `settle` works until nothing is left."""

    def __init__(self, networks: tuple[Network, ...] = (), *, force: bool = False) -> None:
        self.source = FakeSource(APPLIANCE, SITE.neighbors)
        self.switch = FakeSwitch(SITE.ports)
        self.statuses = FakeStatuses()
        self.force = force
        for network in networks:
            self.source.by_key[network.key] = network
        self.start()

    def start(self) -> None:
        """A controller that starts with what the database holds."""
        self.reconciler = Reconciler(self.source, self.switch, self.statuses, force=self.force)
        self.reconciler.post(DesiredStateChange(dict(self.source.by_key), reset=True))
        self.reconciler.post(SwitchUp())
        self.settle()

    def settle(self) -> None:
        while not self.reconciler.idle:
            self.reconciler.turn()

    def change(self, *networks: Network, removed: tuple[int, ...] = (), revision: int = 0) -> None:
        for network in networks:
            self.source.by_key[network.key] = network
        for key in removed:
            del self.source.by_key[key]
        self.reconciler.post(
            DesiredStateChange({n.key: n for n in networks} | dict.fromkeys(removed), revision=revision)
        )
        self.settle()

    def sent(self) -> dict[str, int]:
        """What was sent since the last call."""
        sent = dict(self.switch.sent)
        self.switch.sent.clear()
        self.switch.bundles.clear()
        return sent

    def ids(self) -> set[tuple[int, int]]:
        return self.switch.read_flow_ids()

    def desired(self) -> set[tuple[int, int]]:
        site = dataclasses.replace(SITE, appliance=self.source.appliance, ports=self.switch.ports(),
                                   neighbors=self.source.neighbors)  # fmt: skip
        found = set(installed(compile_shared(site)).flows)
        for network in self.source.networks():
            found |= installed(compile_network(network, site)).flows.keys()
        return found

    def of(self, key: int) -> set[tuple[int, int]]:
        return {flow for flow in self.ids() if split_cookie(flow[1])[0] == key}


def watch_compiling(world: World) -> list[int]:
    """The keys of what is planned from now on."""
    keys: list[int] = []
    plan = world.reconciler.committer.plan

    def planned(key: int, site: PipelineContext, since: float) -> Plan | None:
        keys.append(key)
        return plan(key, site, since)

    world.reconciler.committer.plan = planned  # type: ignore[method-assign]
    return keys
