"""The VPN daemon alone: databases and a bridge of its own, machines, and peers with charons of their own.

No agent and no controller: tests write rows, and the bridge joins each leg to
one machine or to the peers by fixed flows.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vici
import world
from appliance import Appliance, create_database, run
from supervisor import await_condition

from state import rows, vpn_rows
from state.encryption import SecretBox
from state.model import Appliance as Facts
from state.model import Gateway, Kind, Network, PortBlock, Storage
from state.ovsdb import OvsdbClient, to_map
from state.vpn import INSIDE_MAC, OUTSIDE_MAC, VpnConnection, VpnGateway, inside_port, namespace, outside_port
from state.vpn_rows import VpnStatus
from vpn.charon import plain

ROOT = Path(__file__).resolve().parents[1]
BRIDGE = "br-sluice"
PREFIX, ROUTER, MACHINE, DRIVES = "10.9.0.0/16", "10.9.0.1", "10.9.0.2", "10.250.0.0/24"
SITE, SITE_ROUTER = "192.168.50.0/24", "192.168.50.1"
SECRET = "a pre-shared key for tests, long enough"
RESOLVER = "127.0.0.53"
ROUTER_MAC, GATEWAY_MAC = "02:00:00:00:ff:01", "02:00:00:00:ff:02"
IKE, ESP = ["aes256gcm16-prfsha384-ecp384"], ["aes256gcm16-ecp384"]

# What deploy/sluice-vpn.service leaves it.
_LEFT = ("sys_admin", "sys_chroot", "sys_ptrace", "net_admin", "net_raw", "net_bind_service")
_AS_ITS_UNIT = ("setpriv", "--no-new-privs", f"--bounding-set=-all,{','.join(f'+{one}' for one in _LEFT)}",
                "--inh-caps=-all")  # fmt: skip

_CONFIGURATION = """charon {
    load = random nonce openssl kdf pem pkcs1 pkcs8 x509 pubkey constraints kernel-libipsec kernel-netlink \
socket-default vici updown
    threads = 16
    install_virtual_ip = no
    interfaces_use = wan
    retransmit_timeout = 0.7
    retransmit_tries = 3
    retransmit_base = 1.2
    filelog {
        main {
            path = /run/charon.log
            default = 1
            flush_line = yes
        }
    }
    plugins {
        vici {
            socket = unix:///run/charon.vici
        }
    }
}
"""


def in_namespace(name: str, *command: str) -> str:
    """Output of a command in a namespace. Raises CommandError."""
    return run(["nsenter", f"--net=/run/netns/{name}", *command])


def plug(port: str, peer: str, name: str, mac: str) -> None:
    """A namespace `name` whose device `peer` is a port of the bridge."""
    run(["ip", "netns", "add", name])
    run(["ip", "link", "add", port, "type", "veth", "peer", "name", peer, "address", mac, "netns", name])
    run(["ip", "link", "set", port, "up"])
    run(["ethtool", "-K", port, "tx", "off"])
    in_namespace(name, "ethtool", "-K", peer, "tx", "off")
    for line in ("link set lo up", f"link set {peer} arp off up"):
        in_namespace(name, "ip", *line.split())
    run(["ovs-vsctl", "add-port", BRIDGE, port])


# Characters of the daemon's log that are printed at the end.
_SHOWN = 20_000


class Peer:
    """A site beyond the Internet: a router with charon, which itself is the site's machine."""

    def __init__(self, name: str, address: str, site: str = f"{SITE_ROUTER}/24") -> None:
        self.name, self.address = name, address
        self.directory = world.RUN_DIRECTORY / "peers" / name
        self._process: subprocess.Popen[bytes] | None = None
        plug(f"{name}-port", "wan", name, GATEWAY_MAC)
        for line in (
            f"address add {address}/32 dev wan",
            f"address add {site} dev lo",
            f"neighbor add 169.254.0.1 lladdr {OUTSIDE_MAC} dev wan nud permanent",
            "route add default via 169.254.0.1 dev wan onlink",
        ):
            in_namespace(name, "ip", *line.split())

    def start(self) -> None:
        """Start its charon, which knows no connection."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "charon.conf").write_text(_CONFIGURATION)
        for stale in ("charon.pid", "charon.vici"):
            (self.directory / stale).unlink(missing_ok=True)
        in_namespace(self.name, "sh", "-c", "ip route flush table 220; ip link delete ipsec0 2>/dev/null || true")
        script = f"mount --bind {self.directory} /run && exec /usr/lib/ipsec/charon"
        self._process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--mount", "sh", "-c", script],
            env={**os.environ, "STRONGSWAN_CONF": "/run/charon.conf"}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        await_condition(lambda: (self.directory / "charon.vici").exists(), "peer's charon", 10, 0.005)

    def kill(self) -> None:
        """End its charon without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Take it away."""
        self.kill()
        run(["ovs-vsctl", "--if-exists", "del-port", f"{self.name}-port"])
        run(["ip", "netns", "delete", self.name])

    def command(self, name: str, message: dict[str, Any] | None = None) -> Any:
        """What its charon answers."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(str(self.directory / "charon.vici"))
            return plain(vici.Session(link).request(name, message))

    def connect(self, gateway: str, *, start: bool = False, secret: str = SECRET, **more: Any) -> None:
        """Know a connection with the gateway; `child_...` are settings of the child, the others of the connection."""
        child = {
            "local_ts": [SITE], "remote_ts": [PREFIX, DRIVES], "esp_proposals": ESP,
            "start_action": "start" if start else "none",
            **{key.removeprefix("child_"): value for key, value in more.items() if key.startswith("child_")},
        }  # fmt: skip
        connection = {
            "version": "2", "local_addrs": [self.address], "remote_addrs": [gateway], "proposals": IKE,
            "local": {"auth": "psk", "id": self.address}, "remote": {"auth": "psk", "id": gateway},
            "mobike": "no", "unique": "replace", "encap": "yes", "keyingtries": "0", "dpd_delay": "2s",
            "children": {"site": child},
            **{key: value for key, value in more.items() if not key.startswith("child_")},
        }  # fmt: skip
        if secret:
            owners = [connection["local"].get("id", ""), connection["remote"].get("id", "")]
            self.command("load-shared", {"id": "site", "type": "IKE", "data": secret, "owners": owners})
        self.command("load-conn", {"site": connection})


class Lab:
    """Databases, bridge and daemon. `gateway` and `connection` write rows."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._appliance = Appliance()
        paths = self._appliance.paths
        stack.callback(self._forget, paths.run / "conf.db", paths.database_file)
        stack.callback(self._appliance.stop)
        self._appliance.start_switch()
        run(["ovs-vsctl", "add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev",
             "fail_mode=secure"])  # fmt: skip
        create_database(paths.database_file, ROOT / "state" / "sluice.ovsschema")
        self._appliance.start_one("database")
        self.key_file = paths.vpn_key
        self.seal = SecretBox.at(self.key_file)
        self.directory = paths.vpn_directory
        self.log = paths.log("vpn")
        self.daemon: subprocess.Popen[bytes] | None = None
        self.client = OvsdbClient(str(paths.database_socket))
        stack.callback(self.client.close)
        self._rows: dict[str, dict[str, Any]] = {}
        self.client.monitor(
            {"Vpn_Status": rows.COLUMNS["Vpn_Status"], "Vpn_Peer": rows.COLUMNS["Vpn_Peer"]}, self._take
        )
        self.client.wait_connected(10)
        self._insert("Appliance", {"name": "lab", "settings": to_map(self._facts().to_settings())})
        stack.callback(self.stop, clean=True)

    def _forget(self, *files: Path) -> None:
        """The next lab begins with nothing."""
        for file in files:
            file.unlink(missing_ok=True)

    def _facts(self) -> Facts:
        return Facts(
            Gateway("wan", "203.0.113.2/24", "203.0.113.1", mac=GATEWAY_MAC), ("203.0.113.64/28",),
            router_mac=ROUTER_MAC, dns_upstream=(RESOLVER,), storage=Storage("storage", "10.250.0.2/24"),
        )  # fmt: skip

    def _take(self, changes: Sequence[Any], _reset: bool) -> None:
        for change in changes:
            if change.new is None:
                self._rows.pop(change.uuid, None)
            else:
                self._rows[change.uuid] = {"table": change.table, **change.new}

    def _insert(self, table: str, row: dict[str, Any]) -> list[str]:
        result = self.client.transact([{"op": "insert", "table": table, "row": row}], durable=False)
        uuid: list[str] = result[0]["uuid"]
        return uuid

    def start(self) -> None:
        """Start the daemon."""
        paths = self._appliance.paths
        self._started_at = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self.daemon = subprocess.Popen(
                [*_AS_ITS_UNIT, sys.executable, "-m", "vpn.main", "--database", str(paths.database_socket),
                 "--ovsdb", str(paths.switch_socket), "--key", str(self.key_file),
                 "--directory", str(self.directory)],
                cwd=ROOT, stdout=output, stderr=output,
            )  # fmt: skip

    def since_start(self) -> str:
        """The daemon's log since it was last started."""
        return self.log.read_text()[self._started_at :]

    def stop(self, number: int = signal.SIGTERM, *, clean: bool = False) -> None:
        """End the daemon; its gateways go on, or go away too."""
        if clean:
            for table in ("Vpn_Connection", "Vpn_Gateway"):
                self.client.transact([{"op": "delete", "table": table, "where": []}], durable=False)
            if self.daemon is not None:
                await_condition(lambda: not list(Path("/run/netns").glob("sluice-vpn-*")), "gateways gone", 20)
        if self.daemon is not None:
            self.daemon.send_signal(number)
            self.daemon.wait(15)
            self.daemon = None

    def gateway(self, key: int, address: str, prefix: str = PREFIX, router: str = ROUTER) -> list[str]:
        """Rows of a network and its gateway `gKEY`."""
        block = PortBlock("203.0.113.64", 1024 * key, 1024 * key + 1023)
        network = Network(f"n{key}", Kind.PRIVATE, "t", key, prefix, router, block)
        reference = self._insert("Network", rows.network_row(network))
        return self._insert(
            "Vpn_Gateway", vpn_rows.gateway_row(VpnGateway(f"g{key}", key, address, 1 + key), reference)
        )

    def connection(self, gateway: list[str], name: str, peer: str, secret: str = SECRET, **fields: Any) -> None:
        """A row of a connection."""
        value = VpnConnection(
            name=name, peer=peer,
            **{"remote_prefixes": (SITE,), "secret": self.seal.seal(secret), "revision": 1, **fields},
        )  # fmt: skip
        self._insert("Vpn_Connection", vpn_rows.connection_row(value, gateway))

    def change(self, name: str, **columns: Any) -> None:
        """Change a connection's row."""
        where = [["name", "==", name]]
        self.client.transact(
            [{"op": "update", "table": "Vpn_Connection", "where": where, "row": columns}], durable=False
        )

    def delete(self, table: str, name: str) -> None:
        """Take a row away."""
        self.client.transact([{"op": "delete", "table": table, "where": [["name", "==", name]]}], durable=False)

    def status(self, name: str) -> VpnStatus | None:
        """The row of an object."""
        found = [row for row in list(self._rows.values()) if row["table"] == "Vpn_Status" and row["object"] == name]
        return vpn_rows.status(found[0]) if found else None

    def peers(self) -> dict[str, tuple[str, ...]]:
        """Addresses of peers by domain name, as the daemon tells them."""
        return dict(vpn_rows.peer(row) for row in list(self._rows.values()) if row["table"] == "Vpn_Peer")

    def tunnel(self, name: str) -> Any:
        """The tunnel of a connection; fails when none is told."""
        status = self.status(f"vpnConnections/{name}")
        assert status is not None
        assert status.tunnel is not None
        return status.tunnel

    def await_tunnel(self, name: str, state: str, seconds: float = 10.0) -> float:
        """Wait until a connection's tunnel is in a state; how many seconds that took."""
        began = time.monotonic()

        def there() -> bool:
            status = self.status(f"vpnConnections/{name}")
            return status is not None and status.tunnel is not None and status.tunnel.state.value == state

        try:
            await_condition(there, f"{name} {state}", seconds, 0.01)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.status(f'vpnConnections/{name}')}") from None
        return time.monotonic() - began

    def await_error(self, name: str, pattern: str, seconds: float = 15.0) -> str:
        """Wait until a connection's last error matches; the error."""

        def told() -> bool:
            status = self.status(f"vpnConnections/{name}")
            return status is not None and status.tunnel is not None and bool(re.search(pattern, status.tunnel.error))

        try:
            await_condition(told, f"{name}: {pattern}", seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.status(f'vpnConnections/{name}')}") from None
        return str(self.tunnel(name).error)

    def join(self, key: int, peers: Sequence[Peer], machine: str = "") -> None:
        """Join the legs of a gateway to its peers and to a machine, once they are plugged."""
        ports = {inside_port(key), outside_port(key)}
        await_condition(lambda: ports <= set(run(["ovs-vsctl", "list-ports", BRIDGE]).split()), "legs plugged", 10)

        def numbered() -> bool:
            shown = run(["ovs-vsctl", "--columns=name,ofport", "--format=json", "list", "Interface"])
            numbers = {name: number for name, number in json.loads(shown)["data"]}
            return all(isinstance(numbers.get(port), int) and numbers[port] > 0 for port in ports)

        await_condition(numbered, "legs have numbers", 10)
        out = outside_port(key)
        flows = [f"in_port={peer.name}-port,actions=output:{out}" for peer in peers]
        flows += [f"in_port={out},ip,nw_dst={peer.address},actions=output:{peer.name}-port" for peer in peers]
        if machine:
            flows += [f"in_port={inside_port(key)},actions=output:{machine}-port",
                      f"in_port={machine}-port,actions=output:{inside_port(key)}"]  # fmt: skip
        for flow in flows:
            run(["ovs-ofctl", "add-flow", "--names", BRIDGE, flow])

    def machine(self, name: str, address: str = MACHINE) -> str:
        """A machine, in a namespace of its name, behind an inside leg."""
        plug(f"{name}-port", "eth0", name, ROUTER_MAC)
        for line in (
            f"address add {address}/32 dev eth0",
            f"neighbor add 169.254.0.1 lladdr {INSIDE_MAC} dev eth0 nud permanent",
            "route add default via 169.254.0.1 dev eth0 onlink",
        ):
            in_namespace(name, "ip", *line.split())

        def remove() -> None:
            run(["ovs-vsctl", "--if-exists", "del-port", f"{name}-port"])
            run(["ip", "netns", "delete", name])

        self._stack.callback(remove)
        return name

    def peer(self, name: str, address: str, site: str = f"{SITE_ROUTER}/24") -> Peer:
        """A peer whose charon runs."""
        made = Peer(name, address, site)
        self._stack.callback(made.close)
        made.start()
        return made


def charon_of(key: int) -> int:
    """Process id of a gateway's charon. Raises LookupError."""
    done = subprocess.run(["ip", "netns", "pids", namespace(key)], capture_output=True, text=True, check=False)
    for pid in map(int, done.stdout.split()):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "charon":
                return pid
    raise LookupError(f"no charon in {namespace(key)}")


@dataclass
class Place:
    """A gateway and one peer."""

    lab: Lab
    gateway: list[str]
    peer: Peer


@contextmanager
def lab() -> Iterator[Lab]:
    """A lab without gateways."""
    with ExitStack() as stack:
        made = Lab(stack)
        # What a test that fails is explained by.
        stack.callback(lambda: print(made.log.read_text()[-_SHOWN:]))
        yield made
