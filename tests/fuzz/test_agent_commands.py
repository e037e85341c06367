"""Any sequence of calls, right and wrong ones: state stays consistent, and unchanged after every error."""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import combinations, product
from typing import Any

import grpc
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.housekeeping import Housekeeping
from agent.validation.prefixes import overlap
from sluice.v1 import interconnect_pb2 as interconnects
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import network_pb2 as networks
from sluice.v1 import translation_pb2 as translations
from sluice.v1 import vpn_connection_pb2 as connections
from sluice.v1 import vpn_gateway_pb2 as gateways
from state.ovsdb import OvsdbClient
from tests import interconnect_calls
from tests.agents import StoppedClock, database, opened, served
from tests.vpn_calls import changed, connection

REST = 60
REFUSALS = {"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"}
TABLES = {
    "Network": ["name", "kind", "tenant", "key", "prefix", "block_address", "block_first", "revision", "implicit"],
    "Machine": ["name", "network", "number", "mac", "address", "transit", "hostname", "port", "vlan", "vni"],
    "Vpn_Gateway": ["name", "network", "number", "address", "zone"],
    "Vpn_Connection": ["name", "gateway", "peer", "remote_identity", "remote_prefixes", "dpd_seconds", "revision"],
    "Interconnect": ["name", "network", "number", "slot", "client", "zone", "port", "vlan", "accept", "revision"],
    "Allocation": ["pool", "value", "network", "allocated_at", "released_at"],
    "Request": ["request_id", "digest", "names"],
}

odd = st.text(max_size=20)


def mostly(*values: Any) -> st.SearchStrategy[Any]:
    """One of few values, so that they meet; now and then anything at all."""
    return st.integers(0, 39).flatmap(lambda at: odd if at == 20 else st.sampled_from(values))


network_ids = mostly("a", "b", "c")
machine_ids = mostly("m", "n", "o", "p", "q", "r")
tags = st.sampled_from([{"vlan": at} for at in range(1, 20)] * 2 + [{"vni": 5}, {"vlan": 5000}, {"vni": -1}, {}])
attachments = st.builds(lambda port, tag: machines.Attachment(port=port, **tag), mostly("trunk", "tunnel"), tags)
request_ids = mostly("", "", "", "", *(f"00000000-0000-4000-8000-00000000000{at}" for at in range(3)))
gateway_ids = mostly("g", "h")
connection_ids = mostly("x", "y", "z")
interconnect_ids = mostly("i", "j", "k", "l")
vlans = st.sampled_from([*range(12), 1, 2, 3, 4095, -1])
peers = mostly("198.51.100.200", "198.51.100.201", "vpn.example.com", "10.0.0.1", "203.0.113.96")
remotes = st.lists(
    mostly("192.168.1.0/24", "192.168.0.0/16", "192.168.2.0/24", "10.0.5.0/24", "10.1.0.0/16"), min_size=0, max_size=2
)
macs = mostly(*(f"02:00:00:00:00:{at:02x}" for at in range(1, 30)))
new_networks = st.builds(
    networks.Network,
    kind=st.sampled_from([2, 2, 2, 1, 0, 2, 2, 9]),
    tenant=mostly("t", "u"),
    prefix=mostly("", "", "", "", "10.0.0.0/16", "10.1.0.0/16", "172.16.0.0/16", "203.0.0.0/16"),
    dns_servers=st.lists(mostly("9.9.9.9", "1.1.1.1"), max_size=1),
    mtu=st.sampled_from([0, 0, 0, 0, 1500, 9000, 575]),
)


def new_machines(present: list[str]) -> st.SearchStrategy[machines.Machine]:
    """Machines, most of them for the networks there are; every second one has nothing wrong by itself."""
    in_network = mostly(*(f"networks/{name}" for name in [*present, *present, "a", "m"]))
    fields = {"attachment": attachments, "mac_address": macs}
    alone = st.builds(machines.Machine, hostname=mostly("", "", "h"), **fields)
    member = st.builds(machines.Machine, network=in_network, **fields)
    particular = st.builds(
        machines.Machine, network=in_network, hostname=mostly("", "h", "m"), **fields,
        address=mostly("", "10.0.0.2", "10.0.0.3", "10.0.0.1", "10.1.0.2", "172.16.0.2"),
    )  # fmt: skip
    return st.one_of(alone, member, particular)


class Commands(RuleBasedStateMachine):
    """One agent, one client, a clock that the test moves."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._clock = StoppedClock(1_800_000_000_000)
        server = self._stack.enter_context(database())
        self._store = self._stack.enter_context(opened(server, self._clock, reuse_after_seconds=REST))
        self._api = self._stack.enter_context(served(self._store))
        self._upkeep = Housekeeping(self._store)
        self._reader = OvsdbClient(server.socket)
        self._stack.callback(self._reader.close)
        self._reader.wait_connected(5)
        self._released: dict[tuple[str, str], int] = {}

    def teardown(self) -> None:
        self._stack.close()

    def _state(self) -> dict[str, list[dict[str, Any]]]:
        operations = [{"op": "select", "table": t, "where": [], "columns": ["_uuid", *c]} for t, c in TABLES.items()]
        answers = self._reader.transact(operations)
        rows = (sorted(answer["rows"], key=json.dumps) for answer in answers)
        return dict(zip(TABLES, rows, strict=True))

    def _call(self, call: Any, request: Any) -> Any:
        """Make a call; after a refusal the state is what it was. None: refused."""
        before = self._state()
        # Two calls within one millisecond are no rarity; both are tried.
        self._clock.moment += len(before["Network"]) % 2
        owned = self._addresses(before)
        answer, code = None, "OK"
        try:
            answer = call(request)
        except grpc.RpcError as error:
            code = error.code().name
        if answer is None:
            assert code in REFUSALS, request
            assert self._state() == before, request
            return None
        after = self._addresses(self._state())
        for owner in owned - after:
            self._released[owner] = self._clock.steady()
        for owner in after - owned:
            released = self._released.get(owner)
            assert released is None or self._clock.steady() - released >= REST * 1000, (owner, request)
        return answer

    @staticmethod
    def _addresses(state: dict[str, list[dict[str, Any]]]) -> set[tuple[str, str]]:
        """Everything that rests after its release: by what it is unique in, and value."""
        of = {row["_uuid"][1]: row for row in state["Network"]}
        found = {("block", f"{row['block_address']}:{row['block_first']}") for row in of.values()}
        found |= {("isolated", row["prefix"]) for row in of.values() if row["kind"] == "isolated"}
        for row in state["Machine"]:
            network = of[row["network"][1]]
            if network["kind"] == "private":
                # A new network of an old name begins anew.
                found.add((row["network"][1], row["address"]))
                found.add(("transit", row["transit"]))
        found |= {("public", row["address"]) for row in state["Vpn_Gateway"]}
        zones = [row["zone"] for table in ("Vpn_Gateway", "Interconnect") for row in state[table]]
        found |= {("zone", str(zone)) for zone in zones if zone}
        return found

    @initialize()
    def begin(self) -> None:
        for name in "ab":
            request = networks.CreateNetworkRequest(network_id=name, network=networks.Network())
            self._api.networks.CreateNetwork(request)

    @rule(name=network_ids, network=new_networks, request_id=request_ids)
    def create_network(self, name: str, network: networks.Network, request_id: str) -> None:
        request = networks.CreateNetworkRequest(network_id=name, network=network, request_id=request_id)
        made = self._call(self._api.networks.CreateNetwork, request)
        if made is not None:
            assert self._api.networks.GetNetwork(networks.GetNetworkRequest(name=made.name)) == made

    @rule(data=st.data(), name=machine_ids, request_id=request_ids)
    def create_machine(self, data: st.DataObject, name: str, request_id: str) -> None:
        machine = data.draw(new_machines(list(self._store.cache.networks)))
        request = machines.CreateMachineRequest(machine_id=name, machine=machine, request_id=request_id)
        made = self._call(self._api.machines.CreateMachine, request)
        if made is not None:
            assert self._api.machines.GetMachine(machines.GetMachineRequest(name=made.name)) == made

    @rule(data=st.data(), request_id=request_ids)
    def batch(self, data: st.DataObject, request_id: str) -> None:
        machine = new_machines(list(self._store.cache.networks))
        one = st.builds(machines.CreateMachineRequest, machine_id=machine_ids, machine=machine)
        many = data.draw(st.lists(one, min_size=0, max_size=3))
        request = machines.BatchCreateMachinesRequest(requests=many, request_id=request_id)
        made = self._call(self._api.machines.BatchCreateMachines, request)
        if made is not None:
            asked = [f"machines/{one.machine_id}" for one in many if one.machine_id]
            assert [m.name for m, one in zip(made.machines, many, strict=True) if one.machine_id] == asked

    @precondition(lambda self: self._store.cache.machines)
    @rule(data=st.data(), attachment=attachments | st.none(), mac=mostly("", *(f"02:00:00:00:00:0{at}" for at in "12")))
    def update_machine(self, data: st.DataObject, attachment: machines.Attachment | None, mac: str) -> None:
        name = data.draw(mostly(*self._store.cache.machines))
        changed = machines.Machine(name=f"machines/{name}", attachment=attachment, mac_address=mac)
        self._call(self._api.machines.UpdateMachine, machines.UpdateMachineRequest(machine=changed))

    @precondition(lambda self: self._store.cache.networks)
    @rule(data=st.data())
    def delete_network(self, data: st.DataObject) -> None:
        name = data.draw(mostly(*self._store.cache.networks))
        self._call(self._api.networks.DeleteNetwork, networks.DeleteNetworkRequest(name=f"networks/{name}"))

    @precondition(lambda self: self._store.cache.machines)
    @rule(data=st.data())
    def delete_machine(self, data: st.DataObject) -> None:
        name = data.draw(mostly(*self._store.cache.machines))
        self._call(self._api.machines.DeleteMachine, machines.DeleteMachineRequest(name=f"machines/{name}"))

    @rule(name=gateway_ids, network=network_ids, address=mostly("", "", "203.0.113.96"), request_id=request_ids)
    def create_vpn_gateway(self, name: str, network: str, address: str, request_id: str) -> None:
        value = gateways.VpnGateway(network=f"networks/{network}", address=address)
        request = gateways.CreateVpnGatewayRequest(vpn_gateway_id=name, vpn_gateway=value, request_id=request_id)
        made = self._call(self._api.vpn_gateways.CreateVpnGateway, request)
        if made is not None:
            assert self._api.vpn_gateways.GetVpnGateway(gateways.GetVpnGatewayRequest(name=made.name)) == made

    @rule(name=gateway_ids)
    def delete_vpn_gateway(self, name: str) -> None:
        request = gateways.DeleteVpnGatewayRequest(name=f"vpnGateways/{name}")
        self._call(self._api.vpn_gateways.DeleteVpnGateway, request)

    @precondition(lambda self: self._store.cache.vpn.gateways)
    @rule(data=st.data(), name=connection_ids, remote=remotes, peer=peers, request_id=request_ids)
    def create_vpn_connection(
        self, data: st.DataObject, name: str, remote: list[str], peer: str, request_id: str
    ) -> None:
        of = data.draw(mostly(*self._store.cache.vpn.gateways))
        request = connection(name, of, remote_prefixes=remote, peer=peer, request_id=request_id)
        made = self._call(self._api.vpn_connections.CreateVpnConnection, request)
        if made is not None:
            found = self._api.vpn_connections.GetVpnConnection(connections.GetVpnConnectionRequest(name=made.name))
            assert found == made

    @rule(name=connection_ids, remote=remotes, peer=peers, dpd=st.sampled_from([0, 2, 5, -1]))
    def update_vpn_connection(self, name: str, remote: list[str], peer: str, dpd: int) -> None:
        request = changed(name, remote_prefixes=remote, peer=peer, dpd_seconds=dpd)
        self._call(self._api.vpn_connections.UpdateVpnConnection, request)

    @rule(name=connection_ids)
    def delete_vpn_connection(self, name: str) -> None:
        request = connections.DeleteVpnConnectionRequest(name=f"vpnConnections/{name}")
        self._call(self._api.vpn_connections.DeleteVpnConnection, request)

    @rule(name=interconnect_ids, network=network_ids, vlan=vlans, accept=remotes, request_id=request_ids)
    def create_direct_connect(self, name: str, network: str, vlan: int, accept: list[str], request_id: str) -> None:
        fields: dict[str, Any] = {"port": "trunk", "vlan": vlan, "accept_prefixes": accept, "request_id": request_id}
        self._create_interconnect(interconnect_calls.direct(name, network, **fields))

    @rule(name=interconnect_ids, vlan=vlans, request_id=request_ids)
    def create_peering(self, name: str, vlan: int, request_id: str) -> None:
        self._create_interconnect(interconnect_calls.peering(name, port="trunk", vlan=vlan, request_id=request_id))

    def _create_interconnect(self, request: interconnects.CreateInterconnectRequest) -> None:
        made = self._call(self._api.interconnects.CreateInterconnect, request)
        if made is not None:
            assert interconnect_calls.get(self._api, made.name.partition("/")[2]) == made

    @precondition(lambda self: self._store.cache.interconnects.by_name)
    @rule(data=st.data(), vlan=vlans, accept=remotes, password=mostly("", "secret"))
    def update_interconnect(self, data: st.DataObject, vlan: int, accept: list[str], password: str) -> None:
        name = data.draw(mostly(*self._store.cache.interconnects.by_name))
        request = interconnect_calls.changed(name, vlan=vlan, accept_prefixes=accept, password=password)
        self._call(self._api.interconnects.UpdateInterconnect, request)

    @rule(name=interconnect_ids)
    def delete_interconnect(self, name: str) -> None:
        request = interconnects.DeleteInterconnectRequest(name=f"interconnects/{name}")
        self._call(self._api.interconnects.DeleteInterconnect, request)

    @rule(size=st.integers(-1, 3), token=mostly(""))
    def pages(self, size: int, token: str) -> None:
        page = self._call(
            self._api.machines.ListMachines, machines.ListMachinesRequest(page_size=size, page_token=token)
        )
        names = []
        while page is not None:
            names += [m.name for m in page.machines]
            if not page.next_page_token:
                assert names == [f"machines/{row['name']}" for row in sorted_by_name(self._state()["Machine"])]
                return
            request = machines.ListMachinesRequest(page_size=size, page_token=page.next_page_token)
            page = self._call(self._api.machines.ListMachines, request)
            assert page is not None

    @rule(port=st.sampled_from([0, 1024, 2047, 2048, 65536]), address=mostly("198.51.100.0", "198.51.100.1"))
    def lookup(self, port: int, address: str) -> None:
        request = translations.LookupTranslationRequest(address=address, port=port)
        self._call(self._api.translations.LookupTranslation, request)

    @rule(seconds=st.sampled_from([1, 30, 60, 86400]))
    def time_passes(self, seconds: int) -> None:
        self._clock.advance(seconds)
        self._upkeep.once()

    # No whole seconds: a value is never released twice at the same time of day.
    @rule(seconds=st.sampled_from([-86400.417, -61.193, 61.307, 3600.511]))
    def the_time_of_day_is_set(self, seconds: float) -> None:
        self._clock.step(seconds)
        self._upkeep.once()

    @invariant()
    def nothing_is_given_twice(self) -> None:
        state = self._state()
        of = {row["_uuid"][1]: row for row in state["Network"]}

        def single(values: list[Any]) -> None:
            assert len(values) == len(set(values)), sorted(map(str, values))

        single([row["key"] for row in of.values()])
        single([(row["block_address"], row["block_first"]) for row in of.values()])
        single([row["prefix"] for row in of.values() if row["kind"] == "isolated"])
        numbers = [row["number"] for table in ("Machine", "Vpn_Gateway") for row in state[table]]
        single([*numbers, *(row["client"] for row in state["Interconnect"] if row["client"])])
        single([row["number"] for row in state["Interconnect"]])
        single([(row["network"][1], row["slot"]) if row["zone"] else row["slot"] for row in state["Interconnect"]])
        single([row["network"][1] for row in state["Vpn_Gateway"]])
        single([(row["gateway"][1], row["peer"], row["remote_identity"]) for row in state["Vpn_Connection"]])
        for one, other in combinations(state["Vpn_Connection"], 2):
            if one["gateway"] == other["gateway"]:
                pairs = product(one["remote_prefixes"].split(), other["remote_prefixes"].split())
                assert not any(overlap(*pair) for pair in pairs), (one, other)
        single([row["transit"] for row in state["Machine"] if of[row["network"][1]]["kind"] == "private"])
        owners: dict[str, set[str]] = {}
        for row in state["Machine"]:
            owners.setdefault(json.dumps([row["port"], row["vlan"], row["vni"]]), set()).add(row["network"][1])
        assert all(len(networks_of) == 1 for networks_of in owners.values())
        for row in state["Interconnect"]:
            place = json.dumps([row["port"], row["vlan"], ["set", []]])
            assert place not in owners, row
            owners[place] = {row["name"]}
        held = [a for a in state["Allocation"] if a["released_at"] == 0 and a["pool"] == "attachment"]
        assert len(held) == len(owners)

    @invariant()
    def a_fresh_agent_would_agree(self) -> None:
        """What the cache worked out change by change is what it works out from the rows at once."""
        from agent.cache.desired_state import MONITORED, DesiredStateCache
        from agent.ipam.appliance_pools import Pools
        from state.ovsdb import RowChange

        answers = self._reader.transact(
            [{"op": "select", "table": t, "where": [], "columns": ["_uuid", *c]} for t, c in MONITORED.items()]
        )
        changes = [
            RowChange(table, row["_uuid"][1], None, {c: v for c, v in row.items() if c != "_uuid"})
            for table, answer in zip(MONITORED, answers, strict=True)
            for row in answer["rows"]
        ]
        fresh = DesiredStateCache(
            Pools(self._store.config.appliance, REST * 1000), lambda *_: None, self._clock,
            keep_blocks=30 * 86_400_000, keep_released=REST * 1000,
        )  # fmt: skip
        fresh.apply(changes)
        mine = self._store.cache
        with mine.lock:
            assert list(fresh.networks) == list(mine.networks)
            for these, those in (
                (fresh.vpn.gateways, mine.vpn.gateways),
                (fresh.vpn.connections, mine.vpn.connections),
                (fresh.interconnects.by_name, mine.interconnects.by_name),
            ):
                assert [record.view for record in these.values()] == [record.view for record in those.values()]
            assert [m.view for m in fresh.machines.values()] == [m.view for m in mine.machines.values()]
            assert fresh.allocations.claims == mine.allocations.claims
            if self._clock.now() != self._clock.steady():
                # How long values have rested is not to be seen from rows then.
                return
            assert fresh.allocations.released == mine.allocations.released
            assert fresh.allocations.requests == mine.allocations.requests
            assert list(fresh.allocations.expiring) == list(mine.allocations.expiring)
            now = self._clock.steady()
            for one, other in zip(fresh.pools, mine.pools, strict=True):
                ahead = zip(one.free(now), other.free(now), strict=False)
                assert all(a == b for (a, b), _ in zip(ahead, range(50), strict=False)), one.name
                assert one.free_count(now) == other.free_count(now), one.name


def sorted_by_name(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in order of name."""
    return sorted(rows, key=lambda row: str(row["name"]))


TestCommands = Commands.TestCase
TestCommands.settings = settings(
    max_examples=50, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
