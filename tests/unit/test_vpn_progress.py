"""When a connection is opened, tried again, tested, and what is told of it."""

from __future__ import annotations

import dataclasses
import itertools

from state.model import State
from state.vpn import Role, Tunnel, TunnelState, VpnConnection
from tests.unit.test_vpn_connection import PSK, SITE
from vpn.connection import pairs
from vpn.progress import PARTLY_SECONDS, ConnectionProgress, unreachable
from vpn.tunnels import ObservedTunnels

ALL = tuple(pairs(SITE, PSK))
UP = ObservedTunnels(
    ike="1", children=frozenset({"hq"}), agreed=frozenset(ALL), peer_address="198.51.100.2", counters={}
)
NOTHING = ObservedTunnels(counters={})
REFUSED = "received AUTHENTICATION_FAILED notify error"


def progress(
    connection: VpnConnection = PSK, *, adopted: bool = False, tunnel: Tunnel | None = None
) -> ConnectionProgress:
    made = ConnectionProgress(SITE, connection, tunnel or Tunnel(), adopted=adopted)
    made.loaded = True
    return made


def test_an_initiator_tries_again_less_and_less_often() -> None:
    one, now, tries = progress(), 0.0, []
    while now < 100:
        one.saw(NOTHING, {}, now, 0)
        if one.to_initiate(now) == ["hq"]:
            tries.append(now)
        now += 0.5
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert pauses[:5] == [1, 2, 4, 8, 16]
    assert set(pauses[5:]) == {30}


def test_nothing_is_opened_that_is_open_or_under_way_or_the_peers_to_open() -> None:
    one = progress()
    one.saw(dataclasses.replace(NOTHING, under_way=True), {}, 0, 0)
    assert one.to_initiate(0) == []
    one.saw(UP, {}, 1, 0)
    assert one.to_initiate(1) == []
    waiting = progress(dataclasses.replace(PSK, role=Role.RESPONDER))
    waiting.saw(NOTHING, {}, 0, 0)
    assert waiting.to_initiate(1000) == []
    assert waiting.tunnel.detail == "waiting for the peer to open it"
    unknown = progress()
    unknown.loaded = False
    assert unknown.to_initiate(0) == []


def test_an_old_peer_has_its_missing_pairs_opened_alone() -> None:
    old = progress(dataclasses.replace(PSK, ike_version=1))
    old.saw(dataclasses.replace(UP, children=frozenset({"hq-1", "hq-3"}), agreed=frozenset(ALL[::2])), {}, 0, 0)
    assert old.tunnel.state is TunnelState.CONNECTING
    assert old.to_initiate(0) == ["hq-2", "hq-4"]


def test_a_peer_that_narrows_has_the_other_pairs_opened_alone() -> None:
    one = progress()
    some = dataclasses.replace(UP, agreed=frozenset(ALL[:1]))
    one.saw(some, {}, 0, 0)
    assert (one.tunnel.state, one.established) == (TunnelState.CONNECTING, False)
    assert one.to_initiate(0) == ["hq-2", "hq-3", "hq-4"]
    # What it does not agree to is told, and tried again now and then.
    one.saw(dataclasses.replace(some, agreed=frozenset(ALL[:3])), {}, PARTLY_SECONDS, 1000)
    assert one.tunnel.state is TunnelState.ESTABLISHED
    local, remote = ALL[3]
    assert (
        one.tunnel.detail
        == one.tunnel.error
        == (f"no tunnel from {local} to {remote}: the peer agrees to others only, its list of prefixes is not ours")
    )
    assert one.tunnel.missing == f"{local}-{remote}"
    assert one.to_initiate(100) == ["hq-4"]
    one.saw(UP, {}, 101, 2000)
    assert (one.tunnel.detail, one.tunnel.missing, one.to_initiate(200)) == ("", "", [])


def test_what_ends_a_tunnel_is_told_while_it_is_still_there() -> None:
    """Charon gives a dead peer up before it closes the SA; of a tunnel in part, what is missing counts."""
    one = progress()
    one.saw(UP, {}, 0, 0)
    one.fail("the peer does not answer", "1", 1000)
    assert (one.tunnel.error, one.established) == ("the peer does not answer", True)
    part = progress()
    part.saw(dataclasses.replace(UP, agreed=frozenset(ALL[:1])), {}, 0, 0)
    part.saw(dataclasses.replace(UP, agreed=frozenset(ALL[:1])), {}, PARTLY_SECONDS, 0)
    part.fail("traffic selectors unacceptable", "1", 1000)
    assert part.tunnel.error.startswith("no tunnel from ")


def test_a_part_of_a_prefix_or_one_protocol_is_not_the_prefix() -> None:
    local, remote = ALL[0]
    for agreed in ((local, "192.168.50.0/25"), ("10.9.1.0/24", remote), (local, f"{remote}[tcp/80]")):
        one = progress(dataclasses.replace(PSK, local_prefixes=(local,), remote_prefixes=(remote,)))
        one.saw(dataclasses.replace(UP, agreed=frozenset({agreed})), {}, 0, 0)
        assert not one.established
        # There is nothing smaller to ask for.
        assert one.to_initiate(0) == []


def test_a_remote_prefix_is_closed_where_no_tunnel_is_for_it() -> None:
    one, other = progress(), progress(dataclasses.replace(PSK, name="other"))
    half = frozenset(pair for pair in ALL if pair[1] == PSK.remote_prefixes[0])
    one.saw(dataclasses.replace(UP, agreed=half), {}, 0, 0)
    assert unreachable([one]) == frozenset()
    one.saw(dataclasses.replace(UP, agreed=half), {}, PARTLY_SECONDS, 0)
    assert unreachable([one]) == {PSK.remote_prefixes[1]}
    other.saw(UP, {}, 0, 0)
    assert unreachable([one, other]) == frozenset()


def test_keys_are_replaced_once_for_the_test() -> None:
    for role, seconds in ((Role.INITIATOR, 0.3), (Role.RESPONDER, 2.0)):
        one = progress(dataclasses.replace(PSK, role=role))
        one.saw(UP, {}, 10, 0)
        assert not one.to_rekey(10 + seconds - 0.1)
        assert one.to_rekey(10 + seconds)
        one.saw(UP, {}, 20, 0)
        assert not one.to_rekey(100)
        one.saw(NOTHING, {}, 101, 0)
        one.saw(UP, {}, 102, 0)
        assert one.to_rekey(110)
    adopted = progress(adopted=True)
    adopted.saw(UP, {}, 0, 0)
    assert not adopted.to_rekey(100)


def test_an_error_is_why_it_is_down_until_it_is_up() -> None:
    one = progress()
    one.saw(NOTHING, {}, 0, 0)
    assert one.tunnel.state is TunnelState.CONNECTING
    one.heard(REFUSED, "1", 77)
    one.saw(NOTHING, {}, 1, 0)
    assert one.tunnel.state is TunnelState.DOWN
    assert one.tunnel.detail == one.tunnel.error != ""
    assert one.tunnel.error_at == 77
    one.saw(UP, {}, 2, 0)
    assert (one.tunnel.state, one.tunnel.detail) == (TunnelState.ESTABLISHED, "")
    assert one.tunnel.error != ""
    one.saw(NOTHING, {}, 3, 0)
    assert one.tunnel.state is TunnelState.CONNECTING


def test_the_more_telling_line_of_an_attempt_stays() -> None:
    one = progress()
    one.heard("subject certificate invalid (valid from Jan 1 to Jan 2)", "1", 1)
    one.heard("no trusted ECDSA public key found for 'hq'", "1", 2)
    assert "valid from Jan 1 to Jan 2 only" in one.tunnel.error
    one.heard("no trusted ECDSA public key found for 'hq'", "2", 3)
    assert "no trusted certificate" in one.tunnel.error


def test_keys_that_cannot_be_replaced_are_an_error_of_a_tunnel_that_goes_on() -> None:
    one = progress()
    one.saw(UP, {}, 0, 0)
    one.heard("received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built", "1", 5)
    one.saw(UP, {}, 1, 0)
    status = one.status()
    assert status.state is State.ERROR
    assert "perfect forward secrecy" in status.detail
    assert status.tunnel is not None
    assert status.tunnel.state is TunnelState.ESTABLISHED
    one.rekeyed()
    assert one.status().state is State.LIVE


def test_a_change_forgets_what_was_wrong() -> None:
    one = progress()
    one.problem = "the secret was sealed with another key"
    assert one.status().state is State.ERROR
    one.replaced(SITE, dataclasses.replace(PSK, revision=2), changed=True)
    assert (one.status().state, one.status().revision) == (State.PENDING, 2)
    one.loaded = True
    one.saw(UP, {}, 0, 0)
    one.replaced(SITE, dataclasses.replace(PSK, revision=3), changed=False)
    assert one.established
    assert (one.status().state, one.status().revision) == (State.LIVE, 3)


def test_without_an_ike_daemon_it_is_down() -> None:
    one = progress()
    one.saw(UP, {}, 0, 0)
    one.lost("the IKE daemon keeps ending", 9)
    assert (one.tunnel.state, one.tunnel.detail) == (TunnelState.DOWN, "the IKE daemon keeps ending")


def test_a_name_without_address_is_why() -> None:
    one = progress(dataclasses.replace(PSK, peer="vpn.example.com", peer_addresses=()))
    one.loaded = False
    one.saw(NOTHING, {}, 0, 0)
    assert one.tunnel.detail == "the domain name vpn.example.com has no address"
    assert one.status().state is State.LIVE
