"""What lies beyond a private network, behind tunnels and interconnects: the way there, and who is meant from there.

A prefix that may be beyond is looked up among those learned and those of
tunnels, the longest first, and goes there or nowhere: never to the Internet,
whether it was learned or not. One learned by several interconnects has a group
of them in order of preference, with the tunnel that covers it as last resort.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller.features import beyond_drives, flow, interconnect, next_hops, to_controller
from controller.flow import Action, Flow, Goto, Resubmit, ToGroup, set_mac
from controller.groups import Bucket, Group
from controller.match import Field, Match, match
from controller.pipeline import Feature, Priority, Table, longest
from controller.site import Site
from state import beyond
from state.model import Network
from state.vpn import inside_port

feature = Feature.BEYOND
tables = frozenset({Table.ROUTE, Table.BEYOND, Table.BEYOND_MACHINE, *beyond_drives.TABLES})


def shared(site: Site) -> Iterator[Flow]:
    """What belongs to no network; nothing here grows with them."""
    yield flow(feature, Table.BEYOND, Priority.MISS, Match(), (Goto(Table.VPN_LEG),), "no interconnects: a tunnel")
    yield flow(feature, Table.BEYOND_MACHINE, Priority.MISS, Match(), (), "no-network")
    yield from beyond_drives.shared()


def flows(network: Network, site: Site) -> Iterator[Flow]:
    """One a prefix that may be beyond, one a machine, those of drives; with interconnects one a prefix learned."""
    if network.vpn is None and not network.interconnects:
        return
    key = network.key
    for prefix in beyond.prefixes(network):
        yield flow(feature, Table.ROUTE, Priority.BEYOND, match("ip", metadata=key, ip_dst=prefix),
                   (Goto(Table.BEYOND),), f"{prefix} is beyond", key)  # fmt: skip
    if network.interconnects:
        yield from _ways(network)
    if network.interconnects and interconnect.is_narrower(network, site):
        # Of what comes by a tunnel its gateway has told already.
        yield flow(feature, Table.BEYOND_MACHINE, Priority.EXCEPTION, match("ip", metadata=network.key, reg1=1),
                   to_controller(network.key), "too large", network.key)  # fmt: skip
    yield from _inward(network, site)
    yield from beyond_drives.flows(network, site)


def groups(network: Network, site: Site) -> Mapping[int, Group]:
    """The groups of the network's learned prefixes, by id."""
    found = {}
    leg = site.ports.get(inside_port(network.key))
    chosen = next_hops.chosen(network.key, network.interconnects, beyond.vpn_prefixes(network))
    for choice in next_hops.distinct(chosen):
        buckets = next_hops.buckets(choice.interconnects, site)
        if choice.last_resort and leg is not None:
            buckets.append(Bucket(leg, (Resubmit(Table.VPN_LEG),)))
        found[choice.number] = Group(Table.BEYOND, tuple(buckets), choice.why)
    return found


def _ways(network: Network) -> Iterator[Flow]:
    key = network.key
    tunnels = beyond.vpn_prefixes(network)
    learned = next_hops.chosen(key, network.interconnects, tunnels)
    for prefix, choice in learned.items():
        yield flow(feature, Table.BEYOND, longest(prefix), match("ip", metadata=key, ip_dst=prefix),
                   (ToGroup(choice.number),), choice.why, key)  # fmt: skip
    for prefix in tunnels:
        if prefix not in learned:
            yield flow(feature, Table.BEYOND, longest(prefix), match("ip", metadata=key, ip_dst=prefix),
                       (Goto(Table.VPN_LEG),), "by a tunnel", key)  # fmt: skip
    yield flow(feature, Table.BEYOND, Priority.DROP, match("ip", metadata=key),
               to_controller(key), "not learned", key)  # fmt: skip


def _inward(network: Network, site: Site) -> Iterator[Flow]:
    key = network.key
    for machine in network.machines:
        actions: tuple[Action, ...] = (
            set_mac(Field.ETH_SRC, site.appliance.router_mac),
            set_mac(Field.ETH_DST, machine.mac),
            Goto(Table.SWITCH),
        )
        yield flow(feature, Table.BEYOND_MACHINE, Priority.NORMAL, match("ip", metadata=key, ip_dst=machine.address),
                   actions, f"to {machine.name}", key)  # fmt: skip
    yield flow(feature, Table.BEYOND_MACHINE, Priority.DROP, match(metadata=key), (), "no-machine", key)
