"""Which routes of a peer are accepted, and why others are not."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.desired_state import direct_connect, peering
from bgp.routes import DAMPED, ImportPolicy, network, within
from state import rows
from state.interconnect import Interconnect, InterconnectKind, Route
from state.model import Appliance, Gateway, Kind, Network, PortBlock, Storage

PEER = "192.0.2.2"
APPLIANCE = Appliance(
    Gateway("wan", "203.0.113.2/24", "203.0.113.1"), ("203.0.113.64/28",), protected=("192.168.7.0/24",),
    public_pool=("198.51.100.0/24",), storage=Storage("storage", "10.250.0.2/24", clients="100.64.0.0/14"),
)  # fmt: skip
NETWORK = rows.network_row(
    Network("n", Kind.PRIVATE, "t", 1, "10.1.0.0/16", "10.1.0.1", PortBlock("203.0.113.64", 1, 2))
)  # fmt: skip


def interconnect(kind: InterconnectKind = InterconnectKind.DIRECT_CONNECT, **fields: Any) -> Interconnect:
    """An interconnect from 192.0.2.1/30 in AS 64512 to `PEER` in AS 65001."""
    return Interconnect(
        name="i", kind=kind, number=1, slot=1, port="xc1", vlan=7, local_address="192.0.2.1/30", peer_address=PEER,
        local_as=64512, peer_as=65001, **fields,
    )  # fmt: skip


def judge(*accept: str, **fields: Any) -> ImportPolicy:
    """What judges routes by a Direct Connect."""
    return ImportPolicy(direct_connect(interconnect(accept=accept, **fields), NETWORK, ["10.250.0.9"], APPLIANCE))


def judge_of_peering(*accept: str) -> ImportPolicy:
    """What judges routes by a peering."""
    return ImportPolicy(peering(interconnect(InterconnectKind.PEERING, accept=accept), APPLIANCE))


def path(**more: Any) -> dict[str, Any]:
    """A path as bgpd shows it."""
    shown = {"valid": True, "bestpath": True, "peerId": PEER, "path": "65001", "nexthops": [{"ip": PEER}]}
    return {**shown, **more}


@pytest.mark.parametrize(
    ("prefix", "refusal"),
    [
        ("172.16.0.0/12", ""),
        ("172.20.1.0/24", ""),
        ("172.20.1.1/32", ""),
        ("10.0.0.0/8", ""),
        ("10.2.0.0/16", ""),
        ("172.0.0.0/8", "not within the accepted prefixes"),
        ("192.168.0.0/24", "not within the accepted prefixes"),
        # A customer may have the numbers of our management network: it is never reached from here.
        ("192.168.7.0/24", "not within the accepted prefixes"),
        ("0.0.0.0/0", "the default route is never accepted"),
        ("0.0.0.0/1", "shorter than /8"),
        ("10.1.0.0/16", "within 10.1.0.0/16, the network's own prefix"),
        ("10.1.2.3/32", "within 10.1.0.0/16, the network's own prefix"),
        ("10.250.0.9/32", "within 10.250.0.0/24, the storage network"),
        ("192.0.2.0/30", "within 192.0.2.0/30, the link itself"),
        ("203.0.113.64/28", "within 203.0.113.0/24, the gateway's subnet"),
        ("198.51.100.7/32", "within 198.51.100.0/24, the pool of public addresses"),
        ("169.254.1.0/24", "within 169.254.0.0/16, which is never routed"),
        ("224.0.0.0/8", "within 224.0.0.0/4, which is never routed"),
    ],
)
def test_by_a_direct_connect(prefix: str, refusal: str) -> None:
    assert judge("172.16.0.0/12", "10.0.0.0/8").refusal(prefix) == refusal


@pytest.mark.parametrize(
    ("prefix", "refusal"),
    [
        ("8.8.8.0/24", ""),
        ("8.0.0.0/8", ""),
        ("8.8.8.0/25", "longer than /24"),
        ("0.0.0.0/0", "the default route is never accepted"),
        ("10.0.0.0/8", "within 10.0.0.0/8, not routed in the Internet"),
        ("172.20.0.0/16", "within 172.16.0.0/12, not routed in the Internet"),
        ("100.100.0.0/16", "within 100.64.0.0/10, not routed in the Internet"),
        ("127.0.0.0/8", "within 127.0.0.0/8, which is never routed"),
        ("192.168.7.0/24", "within 192.168.7.0/24, a protected prefix of the appliance"),
        ("203.0.113.0/24", "within 203.0.113.0/24, the gateway's subnet"),
        ("198.51.100.0/24", "within 198.51.100.0/24, the pool of public addresses"),
    ],
)
def test_by_a_peering(prefix: str, refusal: str) -> None:
    assert judge_of_peering().refusal(prefix) == refusal


def test_a_peering_may_be_for_some_prefixes_only() -> None:
    judge = judge_of_peering("8.8.0.0/16")
    assert judge.refusal("8.8.8.0/24") == ""
    assert judge.refusal("8.9.0.0/16") == "not within the accepted prefixes"


def test_paths_as_bgpd_shows_them() -> None:
    shown = {
        "routes": {
            "10.1.0.0/16": [path(peerId="(unspec)", path="")],
            "172.16.0.0/24": [path(path="65001 4200000001", metric=77)],
            "172.16.1.0/24": [path(damped=True)],
            "172.16.2.0/24": [path(damped=True, history=True)],
            "172.16.3.0/24": [path(path="65001 {65003,65004}")],
            "172.16.4.0/24": [path(nexthops=[{"ip": "192.0.2.9"}])],
            "172.16.6.0/24": [path(locPrf=0)],
            "172.16.5.0/24": [path(bestpath=False, path="65001 1"), path(path="65001 2")],
            "192.168.0.0/24": [path(damped=True)],
        }
    }
    assert judge("172.16.0.0/12").routes(shown) == (
        Route("172.16.0.0/24", "65001 4200000001", 77),
        Route("172.16.1.0/24", "65001", 0, DAMPED),
        Route("172.16.3.0/24", "65001 65003 65004"),
        Route("172.16.4.0/24", "65001", 0, "next hop 192.0.2.9 is not the peer"),
        Route("172.16.6.0/24", "65001", graceful_shutdown=True),
        Route("172.16.5.0/24", "65001 2"),
        Route("192.168.0.0/24", "65001", 0, "not within the accepted prefixes"),
    )


def test_never_more_than_the_peer_may_announce() -> None:
    shown = {"routes": {f"172.16.{at}.0/24": [path()] for at in range(9)}}
    assert len(judge("172.16.0.0/12", maximum_prefixes=4).routes(shown)) == 4


def test_nothing_shown_is_nothing_learned() -> None:
    assert judge("172.16.0.0/12").routes({}) == ()


@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_within_is_what_it_says(one: int, length: int, other: int, long: int) -> None:
    inner, outer = (
        ipaddress.IPv4Network((one, length), strict=False),
        ipaddress.IPv4Network((other, long), strict=False),
    )
    assert within(network(str(inner)), network(str(outer))) == inner.subnet_of(outer)


@pytest.mark.parametrize(
    ("as_path", "refusal"),
    [
        ("65001", ""),
        ("65001 65002", ""),
        ("65001 " * 64, ""),
        ("65001 " * 65, "the AS path has 65 ASes, more than 64"),
        ("65002 65001", "the AS path does not begin with the peer's AS 65001"),
        ("", "the AS path does not begin with the peer's AS 65001"),
    ],
)
def test_paths(as_path: str, refusal: str) -> None:
    """RFC 4271 section 6.3; a path with our own AS is a loop, which bgpd does not even keep (section 9.1.2)."""
    shown = {"routes": {"192.168.20.0/24": [path(path=as_path)]}}
    for one in (judge("192.168.0.0/16"), judge("0.0.0.0/0")):
        (route,) = one.routes(shown)
        assert route.refusal == refusal
