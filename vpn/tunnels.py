"""Converts charon's security associations to tunnels: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import Any

from state.vpn import Tunnel, TunnelState
from vpn.connection import Pair

Facts = Mapping[str, Any]
COUNTERS = ("bytes_in", "bytes_out", "packets_in", "packets_out")
_INSTALLED = frozenset({"INSTALLED", "REKEYING", "REKEYED"})


@dataclass(frozen=True, slots=True)
class ObservedTunnels:
    """The IKE SAs of one connection at one moment, summed up.

    `children` are the names of those that carry traffic, `agreed` the local and
    remote prefixes that each is for; `counters` those of
    each CHILD SA by its number, in the order of `COUNTERS`.
    """

    ike: str = ""
    children: frozenset[str] = frozenset()
    agreed: frozenset[Pair] = frozenset()
    under_way: bool = False
    peer_address: str = ""
    ike_proposal: str = ""
    esp_proposal: str = ""
    counters: Mapping[str, tuple[int, ...]] | None = None


def confirm(
    found: MutableMapping[str, list[dict[str, Any]]],
    established: Mapping[str, frozenset[str]],
    ask: Callable[[str], list[dict[str, Any]] | None],
) -> frozenset[str]:
    """Make sure of connections that seem closed: names of those about which nothing can be told now.

    A look that does not wait leaves out an SA that charon is working on, such as replacing its keys. `established` are
    the children of each connection that was open so far. One that lacks some in `found` is asked for again by `ask`,
    which waits, and answers None when that takes too long; otherwise `found` is brought up to date.
    """
    unknown = set()
    for name, children in established.items():
        if children <= see(found.get(name, ())).children:
            continue
        answer = ask(name)
        if answer is None:
            unknown.add(name)
        else:
            found[name] = answer
    return frozenset(unknown)


def see(associations: Iterable[Facts]) -> ObservedTunnels:
    """Sum up the IKE SAs of one connection (`list-sa` of vici)."""
    seen = ObservedTunnels()
    children: set[str] = set()
    agreed: set[Pair] = set()
    counters: dict[str, tuple[int, ...]] = {}
    for facts in associations:
        state = facts.get("state", "")
        queued = [*facts.get("tasks-active", ()), *facts.get("tasks-queued", ())]
        if state == "CONNECTING" or {"CHILD_CREATE", "QUICK_MODE"} & set(queued):
            seen = replace(seen, under_way=True)
        if state in ("ESTABLISHED", "REKEYING"):
            seen = replace(
                seen, ike=facts["uniqueid"], peer_address=facts.get("remote-host", ""), ike_proposal=proposal(facts)
            )
        for child in facts.get("child-sas", {}).values():
            counters[child["uniqueid"]] = count(child)
            if child.get("state") in _INSTALLED:
                children.add(child["name"])
                agreed |= {(one, other) for one in child.get("local-ts", ()) for other in child.get("remote-ts", ())}
                seen = replace(seen, esp_proposal=proposal(child))
    return replace(seen, children=frozenset(children), agreed=frozenset(agreed), counters=counters)


def missing(wanted: Iterable[Pair], agreed: frozenset[Pair]) -> tuple[Pair, ...]:
    """The pairs of prefixes that no child is for, as a whole and for all protocols."""
    rest = [pair for pair in wanted if pair not in agreed]
    if not rest:
        return ()
    have = [(_network(one), _network(other)) for one, other in agreed]
    return tuple(
        (one, other) for one, other in rest
        if not any(_within(one, here) and _within(other, there) for here, there in have)
    )  # fmt: skip


def _network(selector: str) -> IPv4Network | None:
    # One for a protocol, a port or a range is written in other ways.
    try:
        return IPv4Network(selector)
    except ValueError:
        return None


def _within(prefix: str, network: IPv4Network | None) -> bool:
    return network is not None and IPv4Network(prefix).subnet_of(network)


def count(child: Facts) -> tuple[int, ...]:
    """The counters of a CHILD SA, in the order of `COUNTERS`."""
    return tuple(int(child.get(name.replace("_", "-"), 0)) for name in COUNTERS)


def proposal(facts: Facts) -> str:
    """The algorithms of an SA, as strongSwan prints them: `AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384`."""
    parts = []
    for algorithm, size in (("encr-alg", "encr-keysize"), ("integ-alg", "integ-keysize")):
        if algorithm in facts:
            parts.append("_".join(filter(None, (facts[algorithm], facts.get(size, "")))))
    parts += [facts[name] for name in ("prf-alg", "dh-group") if name in facts]
    return "/".join(parts)


def add(tunnel: Tunnel, counted: dict[str, list[int]], counters: Mapping[str, tuple[int, ...]]) -> Tunnel:
    """Add what CHILD SAs counted since `counted` (by number, brought up to date) to a tunnel's counters."""
    totals = {name: getattr(tunnel, name) for name in COUNTERS}
    for number, values in counters.items():
        before = counted.get(number, [0] * len(COUNTERS))
        for name, now, then in zip(COUNTERS, values, before, strict=True):
            totals[name] += max(0, now - then)
        counted[number] = [max(now, then) for now, then in zip(values, before, strict=True)]
    return replace(tunnel, **totals)


def in_state(
    tunnel: Tunnel, state: TunnelState, detail: str, seen: ObservedTunnels, now: int, lacking: Iterable[Pair] = ()
) -> Tunnel:
    """A tunnel in a state, with what is seen of it and pairs `lacking` in it; `now` is in ms since the epoch."""
    up = state is TunnelState.ESTABLISHED
    return replace(
        tunnel,
        state=state,
        detail=detail,
        since=tunnel.since if tunnel.since and tunnel.state is state else now,
        peer_address=seen.peer_address if up else "",
        ike_proposal=seen.ike_proposal if up else "",
        esp_proposal=seen.esp_proposal if up else "",
        missing=" ".join("-".join(pair) for pair in lacking) if up else "",
    )
