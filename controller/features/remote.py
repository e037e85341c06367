"""Routing between a private network and its remote prefixes (VPN tunnels, interconnects), both directions.

A prefix that may be beyond is looked up among those learned and those of
tunnels, the longest first, and goes there or nowhere: never to the Internet,
whether it was learned or not. One learned by several interconnects has a group
of them in order of preference, with the tunnel that covers it as last resort.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller.features import flow, interconnect, next_hops, remote_drives, to_controller
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Action, Flow, Goto, Resubmit, ToGroup, set_mac
from controller.pipeline.groups import Bucket, Group
from controller.pipeline.match import Field, Match, match
from controller.pipeline.registry import Feature, Priority, Table, longest
from state import remote
from state.model import Network
from state.vpn import inside_port

feature = Feature.REMOTE
tables = frozenset({Table.ROUTE, Table.REMOTE_ROUTE, Table.REMOTE_MACHINE, *remote_drives.TABLES})


def shared(site: PipelineContext) -> Iterator[Flow]:
    """What belongs to no network; nothing here grows with them."""
    yield flow(
        feature, Table.REMOTE_ROUTE, Priority.MISS, Match(), (Goto(Table.VPN_LEG),), "no interconnects: a tunnel"
    )
    yield flow(feature, Table.REMOTE_MACHINE, Priority.MISS, Match(), (), "no-network")
    yield from remote_drives.shared()


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """One a prefix that may be beyond, one a machine, those of drives; with interconnects one a prefix learned."""
    if network.vpn is None and not network.interconnects:
        return
    key = network.key
    for prefix in remote.prefixes(network):
        yield flow(feature, Table.ROUTE, Priority.REMOTE, match("ip", metadata=key, ip_dst=prefix),
                   (Goto(Table.REMOTE_ROUTE),), f"{prefix} is remote", key)  # fmt: skip
    if network.interconnects:
        yield from _ways(network)
    if network.interconnects and interconnect.is_narrower(network, site):
        # Of what comes by a tunnel its gateway has told already.
        yield flow(feature, Table.REMOTE_MACHINE, Priority.EXCEPTION, match("ip", metadata=network.key, reg1=1),
                   to_controller(network.key), "too large", network.key)  # fmt: skip
    yield from _inward(network, site)
    yield from remote_drives.flows(network, site)


def groups(network: Network, site: PipelineContext) -> Mapping[int, Group]:
    """The groups of the network's learned prefixes, by id."""
    found = {}
    leg = site.ports.get(inside_port(network.key))
    chosen = next_hops.chosen(network.key, network.interconnects, remote.vpn_prefixes(network))
    for choice in next_hops.distinct(chosen):
        buckets = next_hops.buckets(choice.interconnects, site)
        if choice.last_resort and leg is not None:
            buckets.append(Bucket(leg, (Resubmit(Table.VPN_LEG),)))
        found[choice.number] = Group(Table.REMOTE_ROUTE, tuple(buckets), choice.why)
    return found


def _ways(network: Network) -> Iterator[Flow]:
    key = network.key
    tunnels = remote.vpn_prefixes(network)
    learned = next_hops.chosen(key, network.interconnects, tunnels)
    for prefix, choice in learned.items():
        yield flow(feature, Table.REMOTE_ROUTE, longest(prefix), match("ip", metadata=key, ip_dst=prefix),
                   (ToGroup(choice.number),), choice.why, key)  # fmt: skip
    for prefix in tunnels:
        if prefix not in learned:
            yield flow(feature, Table.REMOTE_ROUTE, longest(prefix), match("ip", metadata=key, ip_dst=prefix),
                       (Goto(Table.VPN_LEG),), "by a tunnel", key)  # fmt: skip
    yield flow(feature, Table.REMOTE_ROUTE, Priority.DROP, match("ip", metadata=key),
               to_controller(key), "not learned", key)  # fmt: skip


def _inward(network: Network, site: PipelineContext) -> Iterator[Flow]:
    key = network.key
    for machine in network.machines:
        actions: tuple[Action, ...] = (
            set_mac(Field.ETH_SRC, site.appliance.router_mac),
            set_mac(Field.ETH_DST, machine.mac),
            Goto(Table.SWITCH),
        )
        yield flow(feature, Table.REMOTE_MACHINE, Priority.NORMAL, match("ip", metadata=key, ip_dst=machine.address),
                   actions, f"to {machine.name}", key)  # fmt: skip
    yield flow(feature, Table.REMOTE_MACHINE, Priority.DROP, match(metadata=key), (), "no-machine", key)
