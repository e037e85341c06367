"""Security associations as tunnels, and counters that never go back."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from state.vpn import Tunnel, TunnelState
from vpn.tunnels import ObservedTunnels, add, confirm, in_state, proposal, see

CHILD: dict[str, Any] = {
    "name": "hq", "uniqueid": "3", "state": "INSTALLED", "encr-alg": "AES_GCM_16", "encr-keysize": "256",
    "dh-group": "ECP_384", "bytes-in": "10", "bytes-out": "20", "packets-in": "1", "packets-out": "2",
}  # fmt: skip
IKE: dict[str, Any] = {
    "uniqueid": "1", "state": "ESTABLISHED", "remote-host": "198.51.100.2", "encr-alg": "AES_CBC",
    "encr-keysize": "256", "integ-alg": "HMAC_SHA2_256_128", "prf-alg": "PRF_HMAC_SHA2_256", "dh-group": "MODP_2048",
    "child-sas": {"hq-3": CHILD},
}  # fmt: skip


def test_what_is_established() -> None:
    seen = see([IKE])
    assert seen.children == {"hq"}
    assert seen.peer_address == "198.51.100.2"
    assert seen.ike_proposal == "AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048"
    assert seen.esp_proposal == "AES_GCM_16_256/ECP_384"
    assert seen.counters == {"3": (10, 20, 1, 2)}
    assert not seen.under_way


def test_what_is_not_yet() -> None:
    assert see([]) == ObservedTunnels(counters={})
    assert see([{"uniqueid": "1", "state": "CONNECTING"}]).under_way
    waiting = {**IKE, "child-sas": {}, "tasks-active": ["CHILD_CREATE"]}
    assert see([waiting]).under_way
    assert see([waiting]).children == frozenset()
    dying = {**IKE, "child-sas": {"hq-3": {**CHILD, "state": "DELETING"}}}
    assert see([dying]).children == frozenset()


def test_a_proposal_without_a_size() -> None:
    assert proposal({"encr-alg": "CHACHA20_POLY1305"}) == "CHACHA20_POLY1305"


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 1000)), max_size=20))
def test_what_children_counted_is_added_once(steps: list[tuple[int, int]]) -> None:
    tunnel, counted, now = Tunnel(bytes_in=5), {}, {1: 0, 2: 0, 3: 0}  # type: ignore[var-annotated]
    for child, more in steps:
        now[child] += more
        values = {str(child): (now[child], 0, 0, 0)}
        tunnel = add(add(tunnel, counted, values), counted, values)
    assert tunnel.bytes_in == 5 + sum(now.values())


def test_counters_of_a_child_that_says_less_are_kept() -> None:
    counted: dict[str, list[int]] = {}
    tunnel = add(Tunnel(), counted, {"3": (10, 10, 1, 1)})
    tunnel = add(tunnel, counted, {"3": (10, 0, 1, 0)})
    tunnel = add(tunnel, counted, {"3": (11, 11, 2, 2)})
    assert (tunnel.bytes_in, tunnel.bytes_out) == (11, 11)


def test_since_is_when_the_state_began() -> None:
    seen = see([IKE])
    tunnel = in_state(Tunnel(), TunnelState.CONNECTING, "asking", ObservedTunnels(), 100)
    assert (tunnel.since, tunnel.detail) == (100, "asking")
    assert in_state(tunnel, TunnelState.CONNECTING, "asking", ObservedTunnels(), 200).since == 100
    up = in_state(tunnel, TunnelState.ESTABLISHED, "", seen, 300)
    assert (up.since, up.detail, up.peer_address) == (300, "", "198.51.100.2")
    down = in_state(up, TunnelState.DOWN, "the peer does not answer", seen, 400)
    assert (down.peer_address, down.ike_proposal, down.esp_proposal) == ("", "", "")


def open_sa(*children: str, state: str = "ESTABLISHED") -> dict[str, Any]:
    return {**IKE, "state": state, "child-sas": {f"{child}-1": {**CHILD, "name": child} for child in children}}


def test_a_connection_that_charon_is_working_on_is_asked_for_again_before_it_counts_as_closed() -> None:
    found = {"plant": [open_sa("plant")], "office": [open_sa(state="CONNECTING")]}
    asked: list[str] = []

    def ask(name: str) -> list[dict[str, Any]]:
        asked.append(name)
        return [open_sa("office")]

    established = {name: frozenset({name}) for name in ("office", "plant")}
    assert confirm(found, established, ask) == frozenset()
    assert asked == ["office"]
    assert see(found["office"]).children == {"office"}


def test_a_connection_that_is_closed_is_not_there_when_asked_for_again() -> None:
    found: dict[str, list[dict[str, Any]]] = {}
    assert confirm(found, {"office": frozenset({"office"})}, lambda name: []) == frozenset()
    assert see(found["office"]).children == frozenset()


def test_of_a_connection_that_charon_stays_busy_with_nothing_is_told() -> None:
    found: dict[str, list[dict[str, Any]]] = {}
    assert confirm(found, {"office": frozenset({"office"})}, lambda name: None) == {"office"}
    assert found == {}


def test_what_was_not_established_is_not_waited_for() -> None:
    def ask(name: str) -> list[dict[str, Any]]:
        raise AssertionError(name)

    assert confirm({}, {}, ask) == frozenset()
