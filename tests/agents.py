"""Throwaway databases and agents for tests: each in its own directory, none outlives the test run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
from appliance import accepts
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from agent.api.server import ApiServer
from agent.clock import Clock
from agent.config import Config, parse
from agent.daemon_health import Daemons
from agent.store import Store
from sluice.v1 import (
    appliance_pb2_grpc,
    drive_pb2_grpc,
    interconnect_pb2_grpc,
    machine_pb2_grpc,
    network_pb2_grpc,
    public_address_pb2_grpc,
    translation_pb2_grpc,
    usage_pb2_grpc,
    vpn_connection_pb2_grpc,
    vpn_gateway_pb2_grpc,
)
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import network_pb2 as networks
from sluice.v1 import public_address_pb2 as addresses
from state import rows
from state.model import NetworkStatus, State
from state.ovsdb import OvsdbClient
from tests.dummy_switch import SCHEMA as SWITCH_SCHEMA
from tests.dummy_switch import SLUICE_SCHEMA, wait_until

ROOT = Path(__file__).resolve().parents[1]

CONFIGURATION = """
[database]
path = "{directory}/db.sock"
[api]
listen = "unix:{directory}/{name}.sock"
metrics = "{metrics}"
[bridge]
ovsdb = "{directory}/switch.sock"
controller = "{directory}/controller.sock"
datapath_type = "netdev"
[gateway]
port = "uplink"
address = "203.0.113.2/24"
next_hop = "203.0.113.1"
[pools]
nat = ["198.51.100.0/27"]
block_size = 1024
reuse_after_seconds = 60
public = ["203.0.113.96/29"]
[storage]
port = "disks"
address = "10.250.0.2/24"
[vpn]
key = "{directory}/vpn.key"
[protected]
prefixes = ["192.168.0.0/16"]
"""


TABLES = (
    "Network", "Machine", "Additional_Address", "Public_Address", "Drive", "Vpn_Gateway", "Vpn_Connection",
    "Interconnect", "Allocation", "Request",
)  # fmt: skip


def _spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    # Dies with the test run, also when that is killed. Not by `preexec_fn`: it can hang in a process with threads.
    with log.open("ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command], cwd=ROOT, stdout=output, stderr=output,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip


@dataclass
class Database:
    """An ovsdb-server with one database in `directory`."""

    directory: Path
    _process: subprocess.Popen[bytes] | None = None
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def socket(self) -> str:
        """Where it listens."""
        return str(self.directory / "db.sock")

    def start(self) -> None:
        """Start the server and wait until it listens."""
        Path(self.socket).unlink(missing_ok=True)
        command = ["ovsdb-server", str(self.directory / "conf.db"), f"--remote=punix:{self.socket}",
                   f"--unixctl={self.directory}/db.ctl", "-vconsole:warn", "-vsyslog:off"]  # fmt: skip
        self._process = _spawn(command, self.directory / "database.log")
        wait_until(lambda: accepts(Path(self.socket)), what="database started")

    def kill(self) -> None:
        """SIGKILL the server."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self, frozen: bool) -> None:
        """Stop the server from answering, or let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def dump(self, *tables: str) -> str:
        """The contents as JSON lines, in a fixed order; of `tables` or of all with desired state."""
        lines = []
        for table in tables or TABLES:
            command = ["ovsdb-client", "--timeout=10", "-f", "json", "dump", f"unix:{self.socket}", "Sluice", table]
            lines.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return "\n".join(lines)

    def configuration(self, name: str = "agent", **changes: Any) -> Config:
        """A configuration for an agent on this database; `changes` replace its fields, or the appliance's."""
        config = parse(CONFIGURATION.format(directory=self.directory, name=name, metrics=""))
        own = {n: v for n, v in changes.items() if n in Config.__slots__}
        appliance = {n: v for n, v in changes.items() if n not in own}
        return replace(config, **own, appliance=replace(config.appliance, **appliance))

    def spawn_agent(self, name: str = "agent", metrics: str = "") -> subprocess.Popen[bytes]:
        """Start an agent process serving at `unix:DIRECTORY/NAME.sock`; returns without waiting for it."""
        path = self.directory / f"{name}.toml"
        path.write_text(CONFIGURATION.format(directory=self.directory, name=name, metrics=metrics))
        command = [sys.executable, "-m", "agent.main", "--config", str(path)]
        process = _spawn(command, self.directory / f"{name}.log")
        self.agents.append(process)
        return process


@contextmanager
def database(schema: Path | str = SLUICE_SCHEMA) -> Iterator[Database]:
    """An empty database, started."""
    directory = Path(tempfile.mkdtemp(prefix="sluice-db-"))
    subprocess.run(["ovsdb-tool", "create", str(directory / "conf.db"), str(schema)], check=True)
    made = Database(directory)
    try:
        made.start()
        yield made
    finally:
        for process in (*made.agents, made._process):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def switch_database() -> Any:
    """As `database`, with the schema of Open vSwitch."""
    return database(SWITCH_SCHEMA)


class StoppedClock(Clock):
    """A clock that stands still until it is told to go on; ms since the epoch."""

    def __init__(self, moment: int | None = None) -> None:
        super().__init__()
        self.moment = super().now() if moment is None else moment
        self._stepped = 0

    def now(self) -> int:
        return self.moment

    def steady(self) -> int:
        return self.moment - self._stepped

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.moment += int(seconds * 1000)

    def step(self, seconds: float) -> None:
        """Somebody sets the time of day."""
        self._stepped += int(seconds * 1000)
        self.moment += int(seconds * 1000)


@contextmanager
def opened(of: Database, clock: Clock | None = None, **changes: Any) -> Iterator[Store]:
    """A store on a database, connected."""
    client = OvsdbClient(of.socket)
    config = of.configuration(**changes)
    try:
        made = Store(client, config, clock)
        client.wait_connected(5)
        yield made
    finally:
        client.close()


@dataclass
class Api:
    """The stubs of one server."""

    channel: grpc.Channel

    def __post_init__(self) -> None:
        self.networks = network_pb2_grpc.NetworkServiceStub(self.channel)
        self.machines = machine_pb2_grpc.MachineServiceStub(self.channel)
        self.public_addresses = public_address_pb2_grpc.PublicAddressServiceStub(self.channel)
        self.drives = drive_pb2_grpc.DriveServiceStub(self.channel)
        self.vpn_gateways = vpn_gateway_pb2_grpc.VpnGatewayServiceStub(self.channel)
        self.vpn_connections = vpn_connection_pb2_grpc.VpnConnectionServiceStub(self.channel)
        self.interconnects = interconnect_pb2_grpc.InterconnectServiceStub(self.channel)
        self.translations = translation_pb2_grpc.TranslationServiceStub(self.channel)
        self.usage = usage_pb2_grpc.UsageServiceStub(self.channel)
        self.appliance = appliance_pb2_grpc.ApplianceServiceStub(self.channel)


@contextmanager
def connected(target: str) -> Iterator[Api]:
    """Stubs for the API at `target`."""
    # Channels of one process otherwise share connections, also to a server that is gone.
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield Api(channel)


@contextmanager
def served(store: Store) -> Iterator[Api]:
    """A server of `store` in this process and stubs for it."""
    daemons = Daemons(store.config.database)
    server = ApiServer(store, store.config, daemons)
    server.start()
    try:
        with connected(store.config.api.listen[0]) as api:
            yield api
    finally:
        server.stop(0.5)
        daemons.close()


MAC = "02:00:00:00:00:{:02x}"


def network(name: str, **fields: Any) -> networks.CreateNetworkRequest:
    """A request for a network; `request_id` and `wait_live` are the request's, the rest the network's."""
    options = {key: fields.pop(key) for key in ("request_id", "wait_live") if key in fields}
    return networks.CreateNetworkRequest(network_id=name, network=networks.Network(**fields), **options)


def machine(name: str, in_network: str = "", number: int = 1, **fields: Any) -> machines.CreateMachineRequest:
    """A request for a machine, on a port of its own; `number` makes its MAC."""
    options = {key: fields.pop(key) for key in ("request_id", "wait_live") if key in fields}
    values = {
        "network": in_network and f"networks/{in_network}",
        "mac_address": MAC.format(number),
        "attachment": machines.Attachment(port=name[:15]),
    } | fields
    return machines.CreateMachineRequest(machine_id=name, machine=machines.Machine(**values), **options)


def public_address(name: str, **fields: Any) -> addresses.CreatePublicAddressRequest:
    """A request for a public address; `machine` is an identifier."""
    options = {key: fields.pop(key) for key in ("request_id", "wait_live") if key in fields}
    if fields.get("machine"):
        fields["machine"] = f"machines/{fields['machine']}"
    made = addresses.PublicAddress(**fields)
    return addresses.CreatePublicAddressRequest(public_address_id=name, public_address=made, **options)


def refusal(call: Callable[..., Any], request: Message, **options: Any) -> tuple[str, str, dict[str, Message]]:
    """The code, the message and the details (by type name) a call is refused with."""
    try:
        answer = call(request, **options)
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        details = {}
        for packed in () if status is None else status.details:
            name = packed.type_url.rpartition(".")[2]
            details[name] = getattr(error_details_pb2, name)()
            packed.Unpack(details[name])
        return error.code().name, error.details(), details
    raise AssertionError(f"not refused: {answer}")


class Controller:
    """Says of networks what a controller would say, by request of the test."""

    def __init__(self, of: Database) -> None:
        self._client = OvsdbClient(of.socket)
        self._client.wait_connected(5)

    def report(
        self,
        network: str,
        state: State,
        detail: str = "",
        machines: dict[str, str] | None = None,
        degraded: dict[str, str] | None = None,
    ) -> None:
        """Report the present revision of `network`."""
        where = [["name", "==", network]]
        (answer,) = self._client.transact(
            [{"op": "select", "table": "Network", "where": where, "columns": ["revision"]}]
        )
        revision = answer["rows"][0]["revision"]
        self._put(network, NetworkStatus(revision, state, detail, machines or {}, degraded or {}))

    def report_peerings(self, status: NetworkStatus) -> None:
        """Report of the interconnects that belong to no network."""
        self._put("", status)

    def _put(self, network: str, status: NetworkStatus) -> None:
        self._client.transact(
            [
                {"op": "delete", "table": "Network_Status", "where": [["network", "==", network]]},
                {"op": "insert", "table": "Network_Status", "row": rows.status_row(network, status)},
            ]
        )

    def close(self) -> None:
        """End its connection."""
        self._client.close()
