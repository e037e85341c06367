"""The BGP daemon alone: databases and a bridge of its own, and peers that are routers with an FRR of their own.

No agent and no controller: tests write rows, and the bridge joins each leg to
its peer by fixed flows. All links have the same addresses.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import world
from appliance import Appliance, create_database, run
from bgp_speaker import BgpSpeaker, Neighbor
from supervisor import await_condition

from state import interconnect_rows, rows
from state.encryption import SecretBox
from state.interconnect import Interconnect, InterconnectKind, Route, leg_port, namespace
from state.interconnect_rows import InterconnectStatus
from state.model import Appliance as Facts
from state.model import Drive, Gateway, Kind, Network, PortBlock
from state.ovsdb import OvsdbClient, to_map

ROOT = Path(__file__).resolve().parents[1]
BRIDGE = "br-sluice"
PREFIX = "10.9.0.0/16"
HERE, THERE, LENGTH = "169.254.101.1", "169.254.101.2", 30
OUR_AS, PEER_AS = 64512, 65001
ACCEPT = ("172.16.0.0/12", "10.0.0.0/8")
LAN = "172.20.0.0/16"
NAT_POOL = ("203.0.113.64/27", "203.0.113.96/27")

_UNIT = (ROOT / "deploy" / "sluice-bgp.service").read_text().replace("\\\n", " ")
_LEFT = re.findall(r"CAP_(\w+)", next(line for line in _UNIT.splitlines() if line.startswith("CapabilityBoundingSet")))
_CAPABILITIES = ",".join(("-all", *(f"+{one.lower()}" for one in _LEFT)))
# The unit's own user is there where the package is; FRR's will do here.
_AS_ITS_UNIT = ("setpriv", "--reuid=frr", "--regid=frr", "--init-groups", "--no-new-privs",
                f"--inh-caps={_CAPABILITIES}", f"--ambient-caps={_CAPABILITIES}",
                f"--bounding-set={_CAPABILITIES}")  # fmt: skip
# Characters of the daemon's log that are printed at the end.
_SHOWN = 20_000


def in_namespace(name: str, *command: str) -> str:
    """Output of a command in a namespace. Raises CommandError."""
    return run(["nsenter", f"--net=/run/netns/{name}", *command])


class Peer:
    """A router at the far end of a link, whose FRR speaks BGP; not started yet."""

    def __init__(self, name: str) -> None:
        self.name, self.port = name, f"{name}-port"
        run(["ip", "netns", "add", name])
        run(["ip", "link", "add", self.port, "type", "veth", "peer", "name", "wan", "netns", name])
        run(["ip", "link", "set", self.port, "up"])
        run(["ethtool", "-K", self.port, "tx", "off"])
        in_namespace(name, "ethtool", "-K", "wan", "tx", "off")
        for line in ("link set lo up", f"address add {THERE}/{LENGTH} dev wan", "link set wan up"):
            in_namespace(name, "ip", *line.split())
        run(["ovs-vsctl", "add-port", BRIDGE, self.port])
        self.frr = BgpSpeaker(f"/run/netns/{name}", world.RUN_DIRECTORY / "peers" / name)

    @property
    def mac(self) -> str:
        """Ethernet address of its end of the link."""
        shown = json.loads(in_namespace(self.name, "ip", "-json", "link", "show", "wan"))
        return str(shown[0]["address"])

    def start(
        self, *networks: str, asn: int = PEER_AS, expected: int = OUR_AS, listens: bool = True, **settings: Any
    ) -> None:
        """Start its FRR, of AS `asn`, which announces these networks; `settings` are those of `Neighbor`."""
        neighbor = Neighbor(**{"address": HERE, "asn": expected, "networks": networks, **settings})
        self.frr.start_with(THERE, asn, neighbor, listens=listens)

    def cut(self) -> None:
        """Take its cable out, which the other end does not notice."""
        in_namespace(self.name, "ip", "link", "set", "wan", "down")

    def close(self) -> None:
        """Take it away."""
        self.frr.kill()
        run(["ovs-vsctl", "--if-exists", "del-port", self.port])
        run(["ip", "netns", "delete", self.name])


class Lab:
    """Databases, bridge and daemon. `network` and `interconnect` write rows."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._appliance = Appliance()
        self.paths = paths = self._appliance.paths
        stack.callback(self._forget, paths.run / "conf.db", paths.database_file)
        stack.callback(self._appliance.stop)
        self._appliance.start_switch()
        run(["ovs-vsctl", "add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev",
             "fail_mode=secure"])  # fmt: skip
        create_database(paths.database_file, ROOT / "state" / "sluice.ovsschema")
        self._appliance.start_one("database")
        self.seal = SecretBox.at(paths.vpn_key)
        self.directory = paths.bgp_directory
        self.log = paths.log("bgp")
        self.daemon: subprocess.Popen[bytes] | None = None
        self.client = OvsdbClient(str(paths.database_socket))
        stack.callback(self.client.close)
        self.order: list[str] = []
        self._rows: dict[str, dict[str, Any]] = {}
        tables = ("Interconnect_Status", "Interconnect_Routes")
        self.client.monitor({table: rows.COLUMNS[table] for table in tables}, self._take)
        self.client.wait_connected(10)
        facts = Facts(Gateway("wan", "203.0.113.2/24", "203.0.113.1"), NAT_POOL)
        self.insert("Appliance", {"name": "lab", "settings": to_map(facts.to_settings())})
        self._number = 0
        self.peers: dict[int, Peer] = {}
        stack.callback(self.stop, clean=True)

    def _forget(self, *files: Path) -> None:
        """The next lab begins with nothing."""
        for file in files:
            file.unlink(missing_ok=True)

    def _take(self, changes: Sequence[Any], _reset: bool) -> None:
        for change in changes:
            self.order.append(change.table)
            if change.new is None:
                self._rows.pop(change.uuid, None)
            else:
                self._rows[change.uuid] = {"table": change.table, **change.new}

    def insert(self, table: str, row: dict[str, Any]) -> list[str]:
        """A new row; a reference to it."""
        result = self.client.transact([{"op": "insert", "table": table, "row": row}], durable=False)
        uuid: list[str] = result[0]["uuid"]
        return uuid

    def start(self) -> None:
        """Start the daemon."""
        self._started_at = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self.daemon = subprocess.Popen(
                [*_AS_ITS_UNIT, sys.executable, "-m", "bgp.main", "--database", str(self.paths.database_socket),
                 "--ovsdb", str(self.paths.switch_socket), "--key", str(self.paths.vpn_key),
                 "--directory", str(self.directory)],
                cwd=ROOT, stdout=output, stderr=output,
            )  # fmt: skip

    def since_start(self) -> str:
        """The daemon's log since it was last started."""
        return self.log.read_text()[self._started_at :]

    def stop(self, number: int = signal.SIGTERM, *, clean: bool = False) -> None:
        """End the daemon; its sessions go on, or go away too."""
        if self.daemon is None:
            return
        if clean:
            self.clear()
        self.daemon.send_signal(number)
        self.daemon.wait(15)
        self.daemon = None

    def network(self, key: int) -> list[str]:
        """Rows of a private network and its drive; all networks have the same prefix."""
        address, slot = divmod(key, 60)
        block = PortBlock(f"203.0.113.{64 + address}", 1024 * slot, 1024 * slot + 1023)
        network = Network(f"n{key}", Kind.PRIVATE, "t", key, PREFIX, PREFIX.replace(".0.0/16", ".0.1"), block)
        reference = self.insert("Network", rows.network_row(network))
        self.insert("Drive", rows.drive_row(Drive(f"n{key}-drive", drive(key)), reference, 0))
        return reference

    @property
    def next(self) -> int:
        """The number of the interconnect that is made next."""
        return self._number + 1

    def interconnect(self, *, peering: bool = False, password: str = "", **fields: Any) -> int:
        """A row of an interconnect `iNUMBER`, into a network of its own; its number."""
        number = self._number = self.next
        kind = InterconnectKind.PEERING if peering else InterconnectKind.DIRECT_CONNECT
        settings: dict[str, Any] = {
            "slot": number % 15 + 1, "port": "xc1", "vlan": number, "local_address": f"{HERE}/{LENGTH}",
            "peer_address": THERE, "local_as": OUR_AS, "peer_as": PEER_AS, "accept": () if peering else ACCEPT,
            "password": self.seal.seal(password) if password else "", "revision": 1, "created_at": time.time_ns(),
        } | fields  # fmt: skip
        one = Interconnect(name=f"i{number}", kind=kind, number=number, **settings)
        row = interconnect_rows.interconnect_row(one, None if peering else self.network(number))
        self.insert("Interconnect", row)
        return number

    def change(self, number: int, revision: int = 2, **columns: Any) -> None:
        """Change an interconnect's row."""
        row = {"revision": revision, **columns}
        where = [["number", "==", number]]
        self.client.transact([{"op": "update", "table": "Interconnect", "where": where, "row": row}], durable=False)

    def delete(self, number: int) -> None:
        """Take an interconnect's row away."""
        where = [["number", "==", number]]
        self.client.transact([{"op": "delete", "table": "Interconnect", "where": where}], durable=False)

    def status(self, number: int) -> InterconnectStatus | None:
        """The status row of an interconnect."""
        found = [row for row in self.rows("Interconnect_Status") if row["interconnect"] == f"i{number}"]
        return interconnect_rows.status(found[0]) if found else None

    def session(self, number: int) -> Any:
        """The session of an interconnect; fails when none is told."""
        status = self.status(number)
        assert status is not None
        return status.session

    def routes(self, number: int) -> dict[str, Route]:
        """The routes of an interconnect, by prefix."""
        found = [row for row in self.rows("Interconnect_Routes") if row["interconnect"] == f"i{number}"]
        return {route.prefix: route for row in found for route in interconnect_rows.routes(row)}

    def accepted(self, number: int) -> set[str]:
        """The prefixes of the routes that are accepted."""
        return {prefix for prefix, route in self.routes(number).items() if not route.refusal}

    def rows(self, table: str) -> list[dict[str, Any]]:
        """What the daemon wrote into a table."""
        return [row for row in list(self._rows.values()) if row["table"] == table]

    def await_status(
        self, number: int, holds: Callable[[InterconnectStatus], bool], what: str, seconds: float
    ) -> float:
        """Wait until something holds of a status; how many seconds that took."""
        began = time.monotonic()

        def there() -> bool:
            status = self.status(number)
            return status is not None and holds(status)

        try:
            await_condition(there, f"i{number} {what}", seconds, 0.005)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.status(number)}") from None
        return time.monotonic() - began

    def await_state(self, number: int, state: str, seconds: float = 10.0) -> float:
        """Wait until a session is in a state; how many seconds that took."""
        return self.await_status(number, lambda status: status.session.state.value == state, state, seconds)

    def await_reason(self, number: int, pattern: str, seconds: float = 10.0) -> str:
        """Wait until a session is not established for a reason that matches; the reason."""
        self.await_status(number, lambda one: bool(re.search(pattern, one.session.detail)), pattern, seconds)
        return str(self.session(number).detail)

    def await_routes(self, number: int, accepted: set[str], seconds: float = 5.0) -> float:
        """Wait until exactly these prefixes are accepted; how many seconds that took."""
        began = time.monotonic()
        try:
            await_condition(lambda: self.accepted(number) == accepted, f"i{number} routes", seconds, 0.005)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.routes(number)}; wanted {accepted}") from None
        return time.monotonic() - began

    def peer(self, number: int) -> Peer:
        """The router at the far end of an interconnect's link, once the leg is plugged; see `clear`."""
        made = self.peers[number] = Peer(f"peer{number}")
        self.join(number)
        return made

    def pair(self, *networks: str, peering: bool = False, **settings: Any) -> tuple[int, Peer]:
        """An interconnect whose session with a peer, which announces these networks, is established."""
        password = str(settings.get("password", ""))
        number = self.interconnect(peering=peering, password=password, **settings.pop("fields", {}))
        peer = self.peer(number)
        peer.start(*networks, **settings)
        self.await_state(number, "established")
        return number, peer

    def many(self, count: int) -> list[int]:
        """As `pair`, so many at once, each of which announces `LAN`."""
        numbers = [self.interconnect() for _ in range(count)]
        for number in numbers:
            self.peer(number).start(LAN)
        for number in numbers:
            self.await_routes(number, {LAN}, 10)
        return numbers

    def clear(self) -> None:
        """Take all interconnects and peers away."""
        self.client.transact([{"op": "delete", "table": "Interconnect", "where": []}], durable=False)
        while self.peers:
            self.peers.popitem()[1].close()
        await_condition(lambda: not list(Path("/run/netns").glob("sluice-bgp-*")), "interconnects gone", 20)

    def join(self, number: int) -> None:
        """Join the leg of an interconnect to its peer, once it is plugged."""
        leg, port = leg_port(number), f"peer{number}-port"

        def numbered() -> bool:
            shown = run(["ovs-vsctl", "--columns=name,ofport", "--format=json", "list", "Interface"])
            numbers = {name: found for name, found in json.loads(shown)["data"]}
            return all(isinstance(numbers.get(one), int) and numbers[one] > 0 for one in (leg, port))

        await_condition(numbered, "leg and peer plugged", 10)
        for one, other in ((leg, port), (port, leg)):
            run(["ovs-ofctl", "add-flow", "--names", BRIDGE, f"in_port={one},actions=output:{other}"])


def drive(number: int) -> str:
    """The address of the drive of the network that the interconnect of that number leads into."""
    return f"10.250.{number // 256}.{number % 256}"


def pids(number: int) -> dict[str, int]:
    """Process ids of an interconnect's FRR by name."""
    found: dict[str, int] = {}
    done = subprocess.run(["ip", "netns", "pids", namespace(number)], capture_output=True, text=True, check=False)
    for pid in map(int, done.stdout.split()):
        try:
            found[Path(f"/proc/{pid}/comm").read_text().strip()] = pid
        except OSError:
            continue
    return found


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process of an interconnect."""
    os.kill(pid, number)


@contextmanager
def lab() -> Iterator[Lab]:
    """A lab without interconnects, whose daemon runs."""
    with ExitStack() as stack:
        made = Lab(stack)
        # What a test that fails is explained by.
        stack.callback(lambda: print(made.log.read_text()[-_SHOWN:]))
        made.start()
        yield made
