"""The BGP daemon with a real FRR at the far end: sessions, what is learned and announced, and changes while it runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance import run
from bgp_lab import BRIDGE, LAN, NAT_POOL, PEER_AS, PREFIX, Lab, Peer, drive, in_namespace, pids
from supervisor import await_condition

from state.interconnect import INTERCONNECT_MAC, leg_port, namespace
from state.model import State

PASSWORD = "s3cret|#!?x"


def test_a_session_with_a_password(lab: Lab) -> None:
    number, peer = lab.pair(LAN, password=PASSWORD)
    lab.await_routes(number, {LAN})
    lab.await_status(number, lambda one: one.session.bfd.value == "up", "BFD up", 5)
    status = lab.status(number)
    assert status is not None
    assert (status.state, status.detail, status.revision) == (State.LIVE, "", 1)
    session = status.session
    assert (session.peer_mac, session.received, session.accepted, session.flaps) == (peer.mac, 1, 1, 0)
    assert session.announced.split() == [PREFIX, f"{drive(number)}/32"]
    assert lab.routes(number)[LAN].as_path == str(PEER_AS)
    await_condition(lambda: {PREFIX, f"{drive(number)}/32"} <= peer.frr.learned(), "announced", 5)
    assert peer.frr.learned() == {PREFIX, f"{drive(number)}/32", LAN}
    # Echo packets would not come back: the peer is asked for none.
    (seen,) = peer.frr.show("bfd peers", "bfdd")
    assert (seen["status"], seen["remote-echo-receive-interval"]) == ("up", 0)
    no_secret_anywhere(lab, number)


@pytest.mark.parametrize("password", ["", PASSWORD], ids=["plain", "password"])
@pytest.mark.parametrize("way", ["only connects", "only listens"])
def test_a_peer_that_opens_sessions_or_waits_for_them(lab: Lab, way: str, password: str) -> None:
    """ExaBGP and OpenBGPD as they come only connect; others are told to be passive (RFC 4271 section 8.1.1)."""
    alone = {"listens": False} if way == "only connects" else {"more": ("passive",)}
    number, _ = lab.pair(LAN, password=password, bfd_milliseconds=0, **alone)
    lab.await_routes(number, {LAN})


def no_secret_anywhere(lab: Lab, number: int) -> None:
    """Fail when the password is somewhere but in the memory of the two that need it."""
    secret = PASSWORD.encode()
    for path in (path for path in lab.directory.rglob("*") if path.is_file()):
        assert secret not in path.read_bytes(), path
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        assert secret not in told, process
    assert PASSWORD not in lab.log.read_text()
    assert PASSWORD not in run(["ovsdb-client", "dump", f"unix:{lab.paths.database_socket}"])
    directory = lab.directory / str(number)
    assert (directory.stat().st_mode & 0o777, directory.owner()) == (0o700, "frr")
    assert (lab.directory / f"{number}.json").stat().st_mode & 0o777 == 0o600


@pytest.fixture(scope="module")
def pair(running: Lab) -> Iterator[tuple[int, Peer]]:
    """An interconnect and its peer, which announces `LAN`, for tests that leave the session as it is."""
    yield running.pair(LAN)
    running.clear()


def test_the_namespace_has_what_it_needs_and_no_more(pair: tuple[int, Peer]) -> None:
    number, _ = pair
    name = namespace(number)
    shown = json.loads(in_namespace(name, "ip", "-json", "address", "show", "link"))[0]
    assert (shown["address"], shown["mtu"]) == (INTERCONNECT_MAC, 1500)
    addresses = [f"{one['local']}/{one['prefixlen']}" for one in shown["addr_info"]]
    assert addresses == ["169.254.101.1/30"]
    routes = json.loads(in_namespace(name, "ip", "-json", "route"))
    # Learned routes are the switch's: nobody is answered from here but the peer.
    assert {(route["dst"], route.get("gateway", "")) for route in routes} == {("169.254.101.0/30", "")}
    for key in ("forwarding", "accept_redirects", "send_redirects", "accept_source_route"):
        shown = in_namespace(name, "cat", *(f"/proc/sys/net/ipv4/conf/{device}/{key}" for device in ("all", "link")))
        assert (key, shown.split()) == (key, ["0", "0"])
    listening = in_namespace(name, "ss", "-Hltn").splitlines()
    assert {line.split()[3].rpartition(":")[2] for line in listening} == {"179"}
    listening = in_namespace(name, "ss", "-Hlun", "sport < 10000").splitlines()
    assert {line.split()[3].rpartition(":")[2] for line in listening} <= {"3784", "3785", "4784"}
    for end in (["ethtool", "-k", leg_port(number)], ["nsenter", f"--net=/run/netns/{name}", "ethtool", "-k", "link"]):
        assert "tx-checksumming: off" in run(end)


def test_withdrawn_routes_are_gone_and_new_ones_there(running: Lab, pair: tuple[int, Peer]) -> None:
    lab, (number, peer) = running, pair
    lab.await_routes(number, {LAN})
    peer.frr.announce(PEER_AS, "172.21.0.0/24", "172.22.0.0/24")
    assert lab.await_routes(number, {LAN, "172.21.0.0/24", "172.22.0.0/24"}) < 1
    peer.frr.announce(PEER_AS, LAN, "172.22.0.0/24", withdraw=True)
    assert lab.await_routes(number, {"172.21.0.0/24"}) < 1
    assert lab.session(number).received == 1
    assert lab.session(number).flaps == 0
    peer.frr.announce(PEER_AS, LAN)
    peer.frr.announce(PEER_AS, "172.21.0.0/24", withdraw=True)
    lab.await_routes(number, {LAN})


def test_the_path_is_told(running: Lab, pair: tuple[int, Peer]) -> None:
    lab, (number, peer) = running, pair
    peer.frr.configure("route-map out permit 10", "set as-path prepend 65001 4200000001", "set metric 77")
    bgp = (f"router bgp {PEER_AS}", "address-family ipv4 unicast")
    peer.frr.configure(*bgp, "neighbor 169.254.101.1 route-map out out")

    def told() -> bool:
        route = lab.routes(number).get(LAN)
        return route is not None and (route.as_path, route.med) == ("65001 65001 4200000001", 77)

    await_condition(told, "AS path and MED", 5)


def test_a_graceful_shutdown_is_told(running: Lab, pair: tuple[int, Peer]) -> None:
    """RFC 8326: before its session is closed for maintenance, a peer marks its routes."""
    lab, (number, peer) = running, pair
    lab.await_routes(number, {LAN})
    for words, told in (("bgp graceful-shutdown", True), ("no bgp graceful-shutdown", False)):
        peer.frr.configure(words)
        await_condition(lambda to=told: lab.routes(number)[LAN].graceful_shutdown is to, words, 5)  # type: ignore[misc]
    assert lab.accepted(number) == {LAN}
    assert lab.session(number).flaps == 0


def test_what_is_announced_changes_without_a_reset(running: Lab, pair: tuple[int, Peer]) -> None:
    lab, (number, peer) = running, pair
    lab.change(number, revision=2, announce="10.9.4.0/24")
    await_condition(lambda: peer.frr.learned() == {"10.9.4.0/24", LAN}, "announced anew", 5)
    lab.await_status(number, lambda one: one.session.announced == "10.9.4.0/24", "tells it", 5)
    lab.change(number, revision=3, announce="", preference=200, accept="172.20.1.0/24", bfd_milliseconds=200)
    lab.await_status(number, lambda one: one.revision == 3, "acts by it", 5)
    await_condition(lambda: PREFIX in peer.frr.learned(), "announced again", 5)
    lab.await_routes(number, set())
    assert lab.routes(number)[LAN].refusal == "not within the accepted prefixes"
    session = lab.session(number)
    assert (session.state.value, session.flaps) == ("established", 0)
    assert peer.frr.show("bgp ipv4 unicast summary")["peers"]["169.254.101.1"]["connectionsDropped"] == 0


def test_a_drive_that_is_gone_is_announced_no_more(lab: Lab) -> None:
    number, peer = lab.pair(LAN, fields={"announce": ("10.9.0.0/24", f"{drive(lab.next)}/32")})
    await_condition(lambda: f"{drive(number)}/32" in peer.frr.learned(), "announced", 5)
    where = [["name", "==", f"n{number}-drive"]]
    lab.client.transact([{"op": "delete", "table": "Drive", "where": where}], durable=False)
    await_condition(lambda: peer.frr.learned() == {"10.9.0.0/24", LAN}, "announced no more", 5)
    assert lab.session(number).flaps == 0


def test_another_password_needs_the_peers_too(lab: Lab) -> None:
    number, peer = lab.pair(LAN, password=PASSWORD)
    lab.change(number, password=lab.seal.seal("another"))
    lab.await_reason(number, "the password of TCP MD5 differs from the peer's")
    lab.await_routes(number, set())
    peer.frr.configure(f"router bgp {PEER_AS}", "neighbor 169.254.101.1 password another")
    lab.await_state(number, "established")


def test_disabled_and_enabled(lab: Lab) -> None:
    number, peer = lab.pair(LAN)
    lab.change(number, revision=2, enabled=False)
    lab.await_state(number, "disabled")
    lab.await_routes(number, set())
    assert not peer.frr.established("169.254.101.1")
    assert lab.status(number).state is State.LIVE  # type: ignore[union-attr]
    lab.change(number, revision=3, enabled=True)
    lab.await_state(number, "established")
    lab.await_routes(number, {LAN})


def test_the_link_moves_to_other_addresses_in_place(lab: Lab) -> None:
    number, peer = lab.pair(LAN)
    leg = index_of_leg(number)
    peer.frr.stop()
    for line in ("address flush dev wan", "address add 169.254.102.2/29 dev wan"):
        in_namespace(peer.name, "ip", *line.split())
    peer.start(LAN, address="169.254.102.1", expected=64513)
    lab.change(number, local_address="169.254.102.1/29", peer_address="169.254.102.2", local_as=64513)
    lab.await_routes(number, {LAN}, 10)
    assert index_of_leg(number) == leg


def index_of_leg(number: int) -> int:
    """Index of the leg's device; one made anew has another."""
    shown = json.loads(in_namespace(namespace(number), "ip", "-json", "link", "show", "dev", "link"))
    return int(shown[0]["ifindex"])


def test_two_with_equal_addresses_and_prefixes(lab: Lab) -> None:
    one, peer = lab.pair(LAN, "172.21.0.0/24", password="one")
    other, _ = lab.pair(LAN, "172.22.0.0/24", password="two")
    lab.await_routes(one, {LAN, "172.21.0.0/24"})
    lab.await_routes(other, {LAN, "172.22.0.0/24"})
    peer.frr.kill()
    lab.await_reason(one, "^the peer closed the connection without saying why$")
    lab.await_routes(one, set())
    assert lab.accepted(other) == {LAN, "172.22.0.0/24"}
    assert (lab.session(other).state.value, lab.session(other).flaps) == ("established", 0)


def test_removed_without_a_trace_and_the_peer_is_told(lab: Lab) -> None:
    number, peer = lab.pair(LAN)
    stays, _ = lab.pair(LAN)
    lab.await_routes(stays, {LAN})
    processes = pids(number)
    assert set(processes) == {"zebra", "bfdd", "bgpd"}
    lab.delete(number)
    await_condition(lambda: not peer.frr.established("169.254.101.1"), "peer told", 2)
    await_condition(lambda: lab.status(number) is None and not lab.routes(number), "rows gone", 5)
    await_condition(lambda: not Path(f"/run/netns/{namespace(number)}").exists(), "namespace gone", 5)
    await_condition(lambda: leg_port(number) not in run(["ovs-vsctl", "list-ports", BRIDGE]).split(), "unplugged", 5)
    assert not [pid for pid in processes.values() if Path(f"/proc/{pid}").exists()]
    assert not list(lab.directory.glob(f"{number}*"))
    assert subprocess.run(["ip", "link", "show", leg_port(number)], capture_output=True, check=False).returncode
    assert lab.session(stays).flaps == 0
    assert lab.accepted(stays) == {LAN}


def test_a_peering_announces_the_pools(lab: Lab) -> None:
    number, peer = lab.pair("192.0.2.0/24", peering=True)
    lab.await_routes(number, {"192.0.2.0/24"})
    await_condition(lambda: "203.0.113.64/26" in peer.frr.learned(), "pools announced as one", 5)
    assert not set(NAT_POOL) & peer.frr.learned()
