"""Additional addresses: who may send from one, who is asked for it, who is sent to, and how it moves."""

from __future__ import annotations

import re
from collections.abc import Iterator

import examples
import pytest
from dummy_switch import dummy_switch
from scapy.layers.l2 import ARP, Dot1Q, Ether
from tracer import BROADCAST, INTERNET, ROUTER_MAC, Out, Tracer, arp, echo, ip, out_of, outside

from controller.openflow import wire
from controller.openflow.client import OpenFlowClient
from controller.pipeline.registry import MeterClass, Table, meter
from state.model import Machine

NETWORK = examples.CLUSTER
FIRST, SECOND, BEHIND, OTHER_BEHIND, STRANGER = NETWORK.machines
MOVING, VRRP, VRRP_BEHIND = examples.MOVING.address, examples.VRRP.address, examples.VRRP_BEHIND.address
MAC, MAC_BEHIND = examples.VRRP.mac, examples.VRRP_BEHIND.mac
BY_ADDRESS = {one.address: one for one in NETWORK.additional}
TENANTS = {"10.0.0.2": examples.OFFICE.machines[0], "10.0.0.3": examples.SHOP.machines[1]}
DRIVE = NETWORK.drives[0]


class Cluster(Tracer):
    """A tracer whose switch hears announcements as well."""

    def announce(self, machine: Machine, address: str, mac: str = "", operation: int = 1) -> None:
        """A gratuitous ARP of a machine on the trunk, as a frame: only those make the switch learn."""
        assert machine.attachment.vlan is not None
        source = mac or machine.mac
        body = ARP(op=operation, hwsrc=source, psrc=address, hwdst="00:00:00:00:00:00", pdst=address)
        frame = Ether(src=source, dst=BROADCAST) / Dot1Q(vlan=machine.attachment.vlan) / body
        # Without a cached datapath flow, which would tell of its packets later.
        self._control("revalidator/purge")
        self._control("netdev-dummy/receive", machine.attachment.port, bytes(frame).hex())
        self._control("revalidator/wait")

    def holders(self) -> dict[int, int]:
        """Numbers of additional addresses that somebody holds, and of who does."""
        dump = self._switch.ofctl("--no-stats", "dump-flows", self._switch.bridge, f"table={Table.HOLDERS.number}")
        rows = [line for line in dump.splitlines() if "reg5=" in line]
        pairs = (re.search(r"reg5=(0x[0-9a-f]+).*load:(0x[0-9a-f]+)->", row) for row in rows)
        return {int(pair[1], 16): int(pair[2], 16) for pair in pairs if pair}

    def _control(self, *command: str) -> None:
        self._switch.run("ovs-appctl", f"--target={self._switch.directory}/vswitchd.ctl", *command)

    def forget(self) -> None:
        """As if the switch had been restarted."""
        self._control("revalidator/purge")
        self._switch.ofctl("del-flows", self._switch.bridge, f"table={Table.HOLDERS.number}")


@pytest.fixture(scope="module")
def started() -> Iterator[Cluster]:
    with dummy_switch() as switch:
        yield Cluster(switch)


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    started.forget()
    return started


def virtual(flow: str, machine: Machine, mac: str) -> str:
    """The same packet with a virtual MAC as its source."""
    return flow.replace(machine.mac, mac)


def test_listers_send_from_an_address_with_their_own_mac_and_with_the_virtual_one(cluster: Cluster) -> None:
    target = STRANGER
    for machine, address, mac in (
        (FIRST, MOVING, ""), (SECOND, MOVING, ""), (FIRST, VRRP, ""), (FIRST, VRRP, MAC), (BEHIND, VRRP, MAC),
        (BEHIND, VRRP_BEHIND, MAC_BEHIND), (OTHER_BEHIND, VRRP_BEHIND, MAC_BEHIND), (OTHER_BEHIND, VRRP_BEHIND, ""),
        (FIRST, FIRST.address, MAC), (OTHER_BEHIND, OTHER_BEHIND.address, MAC_BEHIND),
    ):  # fmt: skip
        packet = ip(machine, target.address, target.mac, source=address)
        verdict = cluster.trace(virtual(packet, machine, mac) if mac else packet)
        assert verdict.output == out_of(target), (machine.name, address, mac)
        assert verdict.final_flow["nw_src"] == address


@pytest.mark.parametrize(
    ("machine", "address", "mac", "reason"),
    [
        (STRANGER, MOVING, "", "source-ip"),
        (STRANGER, VRRP, MAC, "source-mac"),
        (BEHIND, MOVING, "", "source-ip"),
        (FIRST, VRRP_BEHIND, "", "source-ip"),
        (FIRST, VRRP, MAC_BEHIND, "source-mac"),
        # With the MAC of another address; and another's own address with it.
        (FIRST, MOVING, MAC, "source-ip"),
        (FIRST, SECOND.address, MAC, "source-ip"),
        (FIRST, "10.0.9.12", "", "source-ip"),
        (examples.OFFICE.machines[3], MOVING, "", "source-ip"),
    ],
)
def test_nobody_else_does(cluster: Cluster, machine: Machine, address: str, mac: str, reason: str) -> None:
    for packet in (ip(machine, INTERNET, source=address), ip(machine, STRANGER.address, STRANGER.mac, source=address)):
        verdict = cluster.trace(virtual(packet, machine, mac) if mac else packet)
        assert (verdict.output, verdict.dropped) == ((), reason)
    reason = {"source-ip": "arp-sender"}.get(reason, reason)
    for operation in (1, 2):
        packet = arp(machine, address, sender=address, operation=operation)
        verdict = cluster.trace(virtual(packet, machine, mac) if mac else packet)
        assert (verdict.output, verdict.dropped) == ((), reason)


def test_a_sender_with_the_mac_of_another_in_its_arp_is_dropped(cluster: Cluster) -> None:
    for hardware in (MAC, SECOND.mac, ROUTER_MAC):
        assert cluster.trace(arp(FIRST, MOVING, sender=MOVING, hardware=hardware)).dropped == "arp-sender"


def test_an_announcement_reaches_the_network_and_no_other(cluster: Cluster) -> None:
    others = {Out("trunk", 102), Out("vxlan", vni=1010), Out("db10")}
    for operation in (1, 2):
        verdict = cluster.trace(arp(FIRST, MOVING, sender=MOVING, operation=operation))
        assert set(verdict.output) == others
        assert (verdict.final_flow["arp_sha"], verdict.final_flow["arp_spa"]) == (FIRST.mac, MOVING)
    answer = cluster.trace(arp(FIRST, STRANGER.address, sender=MOVING, operation=2, mac=STRANGER.mac))
    assert answer.output == out_of(STRANGER)
    # What answers the router has arrived.
    answer = cluster.trace(arp(FIRST, NETWORK.router, sender=MOVING, operation=2, mac=ROUTER_MAC))
    assert (answer.output, answer.dropped, answer.controller) == ((), None, ())


def test_requests_and_probes_go_to_all_that_may_hold_the_address(cluster: Cluster) -> None:
    for sender in (STRANGER.address, "0.0.0.0"):
        for address, expected in (
            (MOVING, {Out("trunk", 101), Out("trunk", 102)}),
            (VRRP, {Out("trunk", 101), Out("trunk", 102), Out("vxlan", vni=1010)}),
            (VRRP_BEHIND, {Out("vxlan", vni=1010)}),
        ):
            verdict = cluster.trace(arp(STRANGER, address, sender=sender))
            assert set(verdict.output) == expected
            assert len(verdict.output) == len(expected)
            assert verdict.final_flow.get("arp_op", "1") == "1"
    assert cluster.trace(arp(FIRST, MOVING, sender="0.0.0.0")).output == (Out("trunk", 102),)
    within = cluster.trace(arp(BEHIND, VRRP_BEHIND))
    assert (within.output, within.dropped) == ((), "same-segment")
    # Another tenant with the same range does not reach them.
    assert cluster.trace(arp(examples.OFFICE.machines[0], MOVING)).dropped == "arp-unknown"


def test_the_last_to_announce_holds_the_address(cluster: Cluster) -> None:
    number = BY_ADDRESS[MOVING].number
    packet = ip(STRANGER, MOVING)
    nobody = cluster.trace(packet)
    assert (nobody.output, nobody.controller) == (
        (), ((Table.SWITCH, meter(MeterClass.NETWORK_ERRORS, NETWORK.key)),),
    )  # fmt: skip
    for holder, operation in ((FIRST, 1), (SECOND, 1), (FIRST, 2), (SECOND, 2)):
        cluster.forget()
        cluster.announce(holder, MOVING, operation=operation)
        assert cluster.holders() == {number: holder.number}
        verdict = cluster.trace(packet)
        assert verdict.output == out_of(holder)
        assert verdict.final_flow["dl_dst"] == holder.mac
    cluster.forget()
    cluster.announce(FIRST, MOVING)
    cluster.announce(SECOND, MOVING)
    assert cluster.holders() == {number: SECOND.number}


def test_what_does_not_move_an_address(cluster: Cluster) -> None:
    cluster.announce(FIRST, MOVING)
    before = cluster.holders()
    dumb = Machine("x", 1, SECOND.mac, "", "", "", SECOND.attachment)
    # Another address, another's MAC, a virtual MAC that is not this address's, another tenant's machine.
    cluster.announce(SECOND, "10.0.9.12")
    cluster.announce(dumb, VRRP_BEHIND)
    cluster.announce(SECOND, MOVING, mac=FIRST.mac)
    cluster.announce(SECOND, MOVING, mac=MAC)
    cluster.announce(examples.OFFICE.machines[2], MOVING)
    assert cluster.holders() == before


def test_traffic_from_everywhere_reaches_the_holder(cluster: Cluster) -> None:
    for holder, address, mac in ((FIRST, MOVING, ""), (SECOND, VRRP, ""), (SECOND, VRRP, MAC), (FIRST, VRRP, MAC)):
        cluster.forget()
        cluster.announce(holder, address, mac)
        one = BY_ADDRESS[address]
        client = f"100.64.0.{one.number}"
        public, private, storage = (
            meter(kind, holder.number)
            for kind in (MeterClass.MACHINE_PUBLIC_IN, MeterClass.MACHINE_PRIVATE_IN, MeterClass.MACHINE_STORAGE_IN)
        )
        drive = f"in_port=3,dl_src=02:00:00:00:d0:14,dl_dst=02:00:00:00:ff:03,tcp,nw_src={DRIVE.address},nw_ttl=64"
        for packet, passed in (
            (outside(one.transit, more="ct_state=trk|est|rpl|dnat"), public),
            (f"{drive},nw_dst={client}", storage),
            (ip(STRANGER, address), private),
        ):
            verdict = cluster.trace(packet)
            assert verdict.output == out_of(holder), packet
            sent = verdict.final_flow
            assert (sent["dl_src"], sent["dl_dst"], sent["nw_dst"]) == (ROUTER_MAC, mac or holder.mac, address)
            assert passed in verdict.meters


def test_a_virtual_mac_leads_to_its_holder_and_to_all_while_there_is_none(cluster: Cluster) -> None:
    packet = echo(STRANGER, VRRP, MAC)
    assert set(cluster.trace(packet).output) == {Out("trunk", 101), Out("trunk", 102), Out("vxlan", vni=1010)}
    for holder in (FIRST, SECOND):
        cluster.forget()
        cluster.announce(holder, VRRP, MAC)
        # Whatever the destination: it may be a router.
        for target in (VRRP, INTERNET):
            verdict = cluster.trace(echo(STRANGER, target, MAC))
            assert verdict.output == out_of(holder)
            assert verdict.final_flow["dl_dst"] == MAC
        own = cluster.trace(echo(holder, VRRP, MAC))
        assert (own.output, own.dropped) == ((), "same-segment")
    assert cluster.trace(echo(examples.OFFICE.machines[0], VRRP, MAC)).dropped == "unknown-mac"


def test_an_address_leaves_with_its_own_stand_in_and_its_senders_limits(cluster: Cluster) -> None:
    for machine, address, mac in ((FIRST, MOVING, ""), (SECOND, MOVING, ""), (SECOND, VRRP, MAC), (BEHIND, VRRP, MAC)):
        one = BY_ADDRESS[address]

        def send(packet: str, machine: Machine = machine, mac: str = mac) -> str:
            return virtual(packet, machine, mac) if mac else packet

        out = cluster.trace(send(ip(machine, INTERNET, source=address)), ct=("trk", "new"))
        assert out.tracked == one.transit
        assert meter(MeterClass.MACHINE_PUBLIC_OUT, machine.number) in out.meters
        drive = cluster.trace(send(ip(machine, DRIVE.address, source=address)))
        assert (drive.output, drive.final_flow["nw_src"]) == ((Out("storage"),), f"100.64.0.{one.number}")
        assert meter(MeterClass.MACHINE_STORAGE_OUT, machine.number) in drive.meters
        name = cluster.trace(send(ip(machine, NETWORK.router, source=address, more="udp_dst=53")))
        assert (name.output, name.final_flow["nw_src"]) == ((Out("names"),), one.transit)
        assert meter(MeterClass.MACHINE_ROUTER, machine.number) in name.meters
        neighbour = cluster.trace(send(ip(machine, STRANGER.address, STRANGER.mac, source=address)))
        assert meter(MeterClass.MACHINE_PRIVATE_OUT, machine.number) in neighbour.meters


def test_what_was_learned_goes_with_the_machines_flows(cluster: Cluster) -> None:
    cluster.announce(FIRST, MOVING)
    cluster.announce(SECOND, VRRP, MAC)
    held = cluster.holders()
    assert set(held) == {BY_ADDRESS[MOVING].number, BY_ADDRESS[VRRP].number}
    compiled = next(one for one in cluster.compiled if one.key == NETWORK.key)
    announcing = [
        (flow, cookie) for cookie, flow in compiled.flows.items()
        if flow.table is Table.ANNOUNCE and f"holds {MOVING}" in flow.why and flow.why.startswith(FIRST.name)
    ]  # fmt: skip
    try:
        with OpenFlowClient(cluster._switch.mgmt) as bridge:
            for flow, cookie in announcing:
                assert bridge.send([wire.flow_delete(flow.table.number, cookie)]) == {}
        assert set(cluster.holders()) == {BY_ADDRESS[VRRP].number}
    finally:
        with OpenFlowClient(cluster._switch.mgmt) as bridge:
            assert bridge.send([wire.flow_add(flow, cookie) for flow, cookie in announcing]) == {}


def test_an_address_that_has_moved_stays_when_its_former_holder_goes(cluster: Cluster) -> None:
    cluster.announce(FIRST, MOVING)
    cluster.announce(SECOND, MOVING)
    compiled = next(one for one in cluster.compiled if one.key == NETWORK.key)
    gone = [
        (flow, cookie) for cookie, flow in compiled.flows.items()
        if flow.table is Table.ANNOUNCE and flow.why.startswith(FIRST.name)
    ]  # fmt: skip
    try:
        with OpenFlowClient(cluster._switch.mgmt) as bridge:
            assert bridge.send([wire.flow_delete(flow.table.number, cookie) for flow, cookie in gone]) == {}
        assert cluster.holders() == {BY_ADDRESS[MOVING].number: SECOND.number}
    finally:
        with OpenFlowClient(cluster._switch.mgmt) as bridge:
            assert bridge.send([wire.flow_add(flow, cookie) for flow, cookie in gone]) == {}
