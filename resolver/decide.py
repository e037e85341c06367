"""Decides what to do with a question: answer it, or forward it. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from resolver.message import UDP_SIZE
from resolver.zone import Labels, Question, Reply, Zones, labels_of
from state import vpn
from state.model import Appliance, Network
from state.prefixes import not_outside
from state.resolver import seen_as, stand_in

REMEMBERED = 256
# Of IPv4 and UDP.
_HEADERS = 28


@dataclass(frozen=True, slots=True)
class ForwardingServer:
    """A server to ask. `source` is the router's address where it is a machine of the asker's network.

    Then `address` is the machine's in the resolver's namespace. `tunnel` is the
    network namespace of the VPN gateway where the server is beyond its tunnels,
    and `since` when that gateway was made: another network's may have the
    namespace's name later. All others are asked from the host.
    """

    address: str
    source: str = ""
    tunnel: str = ""
    since: int = 0

    @property
    def private(self) -> bool:
        """Whether it is one network's alone."""
        return bool(self.source or self.tunnel)


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask these, in this order; there may be none that can be asked."""

    servers: tuple[ForwardingServer, ...]


class ResolverView:
    """What one network's machines are told, and by whom."""

    def __init__(self, network: Network, appliance: Appliance) -> None:
        self.network = network
        # A larger datagram would be cut on the way, or be lost.
        self.udp_size = min(UDP_SIZE, network.mtu - _HEADERS)
        # Over TCP a packet may hold many questions: they count as packets do.
        self.question_rate = appliance.router_rate
        self.written: dict[tuple[int, bytes], tuple[str, bytes]] = {}
        """Answers given before: limit and question without its id → outcome and answer without its id.

        A view never changes, and what it decides by itself is all there is to
        an answer. At most REMEMBERED of them.
        """
        self._zones = Zones(network, appliance.domain)
        self._upstream = Ask(tuple(ForwardingServer(address) for address in appliance.dns_upstream))
        self._rules: dict[Labels, Ask] = {
            labels_of(rule.domain): Ask(tuple(_servers(rule.servers, network, appliance)))
            for rule in network.dns_forwarding
        }

    def decide(self, question: Question) -> Reply | Ask:
        """The answer, or whom to ask: the longest domain counts, and a network's own rule before our own zone."""
        labels = question.labels
        for at in range(len(labels) + 1):
            domain = labels[at:]
            if domain in self._rules:
                return self._rules[domain]
            if self._zones.holds(domain):
                return self._zones.answer(question, domain)
        return self._upstream


def _servers(addresses: Iterable[str], network: Network, appliance: Appliance) -> Iterable[ForwardingServer]:
    """Those of a rule that may be asked.

    The host could reach what no machine may, so the same holds for servers of
    a tenant's choice: nothing that is not in the Internet, nor of the appliance.
    What is beyond a tunnel is reached by the tunnel or not at all.
    """
    gateway = network.vpn
    remote = (
        []
        if gateway is None
        else [IPv4Network(prefix) for one in gateway.connections for prefix in one.remote_prefixes]
    )
    closed = [IPv4Network(prefix) for prefix in not_outside(appliance)]
    inside = {one.address: one for one in network.addressed}
    for text in addresses:
        own = inside.get(text)
        if own is not None:
            yield ForwardingServer(seen_as(own.transit, stand_in(appliance)), network.router)
        elif gateway is not None and any(IPv4Address(text) in prefix for prefix in remote):
            yield ForwardingServer(text, tunnel=vpn.namespace(network.key), since=gateway.created_at)
        elif not any(IPv4Address(text) in prefix for prefix in closed):
            yield ForwardingServer(text)
