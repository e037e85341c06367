"""Remote prefixes of a private network, behind its VPN gateway and its interconnects."""

from __future__ import annotations

from dataclasses import dataclass

from state.model import Network


@dataclass(frozen=True, slots=True)
class RemoteClient:
    """Who all those beyond are on the storage network: one of the numbers of machines, and a conntrack zone."""

    name: str
    number: int
    zone: int


def client(network: Network) -> RemoteClient | None:
    """The client of a network's drives for all who come from beyond; None where nothing is beyond.

    It is that of the VPN gateway or interconnect made first, so that a
    connection to a drive goes on when another takes over.
    """
    found = [(one.created_at, f"interconnects/{one.name}", one.client, one.zone) for one in network.interconnects]
    gateway = network.vpn
    if gateway is not None:
        found.append((gateway.created_at, f"vpnGateways/{gateway.name}", gateway.number, gateway.zone))
    return RemoteClient(*min(found)[1:]) if found else None


def vpn_prefixes(network: Network) -> tuple[str, ...]:
    """The prefixes beyond the network's tunnels."""
    if network.vpn is None:
        return ()
    return tuple(dict.fromkeys(prefix for one in network.vpn.connections for prefix in one.remote_prefixes))


def prefixes(network: Network) -> tuple[str, ...]:
    """Every prefix that may be beyond, learned or not: it never goes out by the gateway."""
    accepted = (prefix for one in network.interconnects for prefix in one.accept)
    return tuple(dict.fromkeys((*vpn_prefixes(network), *accepted)))
