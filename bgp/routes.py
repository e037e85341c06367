"""Import policy: the peer's routes as bgpd shows them, each accepted or with its reject reason. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bgp.configuration import SHUTDOWN_PREFERENCE
from bgp.desired_state import Link
from state.interconnect import InterconnectKind, Route
from state.prefixes import NOT_INTERNET

SHORTEST, LONGEST = 8, {InterconnectKind.DIRECT_CONNECT: 32, InterconnectKind.PEERING: 24}
DAMPED = "flapping: damped"
# AS paths of the Internet have less.
LONGEST_PATH = 64
_NUMBER = re.compile(r"\d+")

Network = tuple[int, int]


class ImportPolicy:
    """Says of the routes by one link which are accepted; remembers what it said."""

    def __init__(self, link: Link) -> None:
        one = link.interconnect
        self._peer, self._most, self._longest = one.peer_address, one.maximum_prefixes, LONGEST[one.kind]
        self._peer_as = str(one.peer_as)
        self._any = one.kind is InterconnectKind.PEERING and not one.accept
        self._accepted = [network(prefix) for prefix in one.accept]
        closed = [(network(prefix), f"within {prefix}, {what}") for prefix, what in link.own]
        if one.kind is InterconnectKind.PEERING:
            closed += [(network(prefix), f"within {prefix}, not routed in the Internet") for prefix in NOT_INTERNET]
        self._closed = closed
        self._said: dict[str, str] = {}

    def routes(self, shown: Mapping[str, Any]) -> tuple[Route, ...]:
        """The peer's routes, as many as it may announce, of what `show bgp ipv4 unicast json` answers."""
        found = []
        for prefix, paths in shown.get("routes", {}).items():
            path = self._of_peer(paths)
            if path is not None:
                found.append(self._route(prefix, path))
                if len(found) == self._most:
                    break
        if len(self._said) > 2 * self._most:
            self._said = {route.prefix: self.refusal(route.prefix) for route in found}
        return tuple(found)

    def refusal(self, prefix: str) -> str:
        """Why no route to `prefix` is accepted from this peer; empty: one is."""
        said = self._said.get(prefix)
        if said is None:
            said = self._said[prefix] = self._refusal(network(prefix))
        return said

    def _of_peer(self, paths: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """The best of the paths by the peer; those of the past are not there."""
        found = [path for path in paths if path.get("peerId") == self._peer and not path.get("history")]
        return next((path for path in found if path.get("bestpath")), found[0] if found else None)

    def _route(self, prefix: str, path: Mapping[str, Any]) -> Route:
        # A set of ASs, which no longer is to be used (RFC 9774), counts by its members.
        as_path = " ".join(_NUMBER.findall(path.get("path", "")))
        refusal = self.refusal(prefix) or self._of_path(as_path.split())
        if not refusal:
            hops = [hop.get("ip", "") for hop in path.get("nexthops", ())]
            if hops != [self._peer]:
                refusal = f"next hop {', '.join(hops) or 'unknown'} is not the peer"
            elif path.get("damped"):
                refusal = DAMPED
        # What the route map of its configuration does with the community.
        shutdown = path.get("locPrf") == SHUTDOWN_PREFERENCE
        return Route(prefix, as_path, int(path.get("metric", 0)), refusal, shutdown)

    def _of_path(self, path: Sequence[str]) -> str:
        """Why a path is refused (RFC 4271 sections 6.3 and 9.1.2); empty: it is not."""
        if path[:1] != [self._peer_as]:
            return f"the AS path does not begin with the peer's AS {self._peer_as}"
        if len(path) > LONGEST_PATH:
            return f"the AS path has {len(path)} ASes, more than {LONGEST_PATH}"
        return ""

    def _refusal(self, route: Network) -> str:
        length = route[1]
        if length == 0:
            return "the default route is never accepted"
        if length < SHORTEST:
            return f"shorter than /{SHORTEST}"
        if length > self._longest:
            return f"longer than /{self._longest}"
        for outer, words in self._closed:
            if within(route, outer):
                return words
        if not self._any and not any(within(route, outer) for outer in self._accepted):
            return "not within the accepted prefixes"
        return ""


def network(prefix: str) -> Network:
    """First address and length of a prefix."""
    address, _, length = prefix.partition("/")
    return int(ipaddress.IPv4Address(address)), int(length)


def within(inner: Network, outer: Network) -> bool:
    """Whether a prefix is within another, or equal."""
    return inner[1] >= outer[1] and (inner[0] ^ outer[0]) >> (32 - outer[1]) == 0
