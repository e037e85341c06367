"""Shared drives: addresses of the storage network that the machines of one private network reach.

On the storage network each machine has an address of its own, made of its
number, which flows put in place of its own on the way out and take away again
on the way in: stateless, one to one, ports kept, so that drives of tenants with
equal prefixes are used at once and a server can tell machines apart. No packet
of this path meets conntrack or the gateway port.

Open vSwitch 3.1 changes two payload bytes of a later fragment when an address
is rewritten, so fragments are dropped: NFS and SMB are TCP. ICMP errors and too
large packets quote or hold what no flow can rewrite; those go by the controller.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow, to_controller
from controller.features.path_mtu import larger_than
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import (
    CONTROLLER,
    Action,
    DecTtl,
    Flow,
    Goto,
    Meter,
    Output,
    WriteMetadata,
    set_ip,
    set_mac,
)
from controller.pipeline.match import ICMP_ERRORS, Field, Match, match
from controller.pipeline.registry import STORAGE_METER, STORAGE_NEWS_METER, Feature, MeterClass, Priority, Table, meter
from state.model import Drive, Machine, Network, Storage
from state.storage import client_address

feature = Feature.STORAGE
tables = frozenset(
    {
        Table.CLASSIFY, Table.ROUTE, Table.STORAGE, Table.STORAGE_OUT, Table.STORAGE_IN, Table.STORAGE_MACHINE,
        Table.STORAGE_ERROR,
    }
)  # fmt: skip

_BROADCAST = "ff:ff:ff:ff:ff:ff"
_FRAGMENTS = ("first", "later")


def shared(site: PipelineContext) -> Iterator[Flow]:
    """ARP with the storage network, and the kinds of packets that are not just rewritten."""
    storage = site.appliance.storage
    if storage is None:
        return
    if site.storage_port is not None:
        yield flow(feature, Table.CLASSIFY, Priority.EXCEPTION, match(in_port=site.storage_port, untagged=True),
                   (Goto(Table.STORAGE_IN),), "from the storage network")  # fmt: skip
    for part in _FRAGMENTS:
        yield flow(feature, Table.STORAGE_IN, Priority.EXCEPTION, match("ip", frag=part), (), "fragment")
    for table in (Table.STORAGE, Table.STORAGE_MACHINE):
        for kind in ICMP_ERRORS:
            yield flow(feature, table, Priority.SPECIFIC, match("icmp", icmp_type=kind),
                       (Goto(Table.STORAGE_ERROR),), "ICMP error")  # fmt: skip
        yield flow(feature, table, Priority.SPECIFIC, match(reg1=1), (Goto(Table.STORAGE_ERROR),), "too large")
        yield flow(feature, table, Priority.MISS, Match(), (), "no-machine")
    yield from _arp(storage)
    for ttl in (0, 1):
        yield flow(feature, Table.STORAGE_IN, Priority.SPECIFIC, match("ip", ttl=ttl), (), "ttl")
    yield flow(feature, Table.STORAGE_IN, Priority.MISS, Match(), (), "not-a-drive")
    yield flow(feature, Table.STORAGE_OUT, Priority.MISS, Match(), (), "drive-unknown")
    yield flow(feature, Table.STORAGE_ERROR, Priority.MISS, Match(), (), "drive-unknown")


def _arp(storage: Storage) -> Iterator[Flow]:
    table = Table.STORAGE_IN
    yield flow(feature, table, Priority.SPECIFIC, match("arp", arp_op=1, arp_tpa=storage.ip),
               (set_mac(Field.ARP_THA, storage.mac), Goto(Table.ARP_REPLY)), f"ARP for {storage.ip}")  # fmt: skip
    yield flow(feature, table, Priority.NORMAL, match("arp", eth_dst=storage.mac, arp_op=2, arp_tpa=storage.ip),
               (Meter(STORAGE_METER), Output(CONTROLLER)), "MAC of a drive")  # fmt: skip
    # Who announces an address (RFC 5227) may have moved. Everybody's requests come here
    # too, so that they have a meter of their own.
    yield flow(feature, table, Priority.NORMAL, match("arp", eth_dst=_BROADCAST),
               (Meter(STORAGE_NEWS_METER), Output(CONTROLLER)), "announcement of an address")  # fmt: skip


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """Three flows a drive whose MAC is known; two a machine and three in all when there are any."""
    storage, port, found = site.appliance.storage, site.storage_port, reachable(network, site)
    if storage is None or port is None or not found:
        return
    key = network.key
    for drive, mac in found:
        yield flow(feature, Table.ROUTE, Priority.EXCEPTION, match("ip", metadata=key, ip_dst=drive.address),
                   (*_check(network.mtu, storage.mtu), Goto(Table.STORAGE)), f"to drive {drive.name}", key)  # fmt: skip
        yield flow(feature, Table.STORAGE_OUT, Priority.NORMAL, match("ip", metadata=key, ip_dst=drive.address),
                   (Meter(meter(MeterClass.NETWORK_STORAGE_OUT, key)), set_mac(Field.ETH_SRC, storage.mac),
                    set_mac(Field.ETH_DST, mac), Output(port)),
                   f"to drive {drive.name}", key)  # fmt: skip
        yield flow(feature, Table.STORAGE_IN, Priority.NORMAL,
                   match("ip", eth_src=mac, eth_dst=storage.mac, ip_src=drive.address, ip_dst=storage.clients),
                   (Meter(meter(MeterClass.NETWORK_STORAGE_IN, key)), DecTtl(), *_check(storage.mtu, network.mtu),
                    WriteMetadata(key), Goto(Table.STORAGE_MACHINE)),
                   f"from drive {drive.name}", key)  # fmt: skip
    for machine in network.machines:
        yield from _machine(machine, network, storage, site)
    for part in _FRAGMENTS:
        yield flow(feature, Table.STORAGE, Priority.EXCEPTION, match("ip", metadata=key, frag=part),
                   (), "fragment", key)  # fmt: skip
    yield flow(feature, Table.STORAGE_ERROR, Priority.NORMAL, match(metadata=key),
               to_controller(key),
               "too large, or an ICMP error", key)  # fmt: skip


def reachable(network: Network, site: PipelineContext) -> list[tuple[Drive, str]]:
    """The drives that have flows now, each with its MAC."""
    if site.storage_port is None:
        return []
    return [(drive, mac) for drive in network.drives if (mac := site.neighbors.get(drive.address)) is not None]


def unreachable(network: Network, site: PipelineContext) -> dict[str, str]:
    """Why drives have no flows now: `drives/NAME` → reason in words; empty while there is still hope for an answer."""
    storage = site.appliance.storage
    if storage is None:
        return {f"drives/{drive.name}": "the appliance has no storage network" for drive in network.drives}
    if site.storage_port is None:
        return {f"drives/{drive.name}": f"port {storage.port} is not on the bridge" for drive in network.drives}
    return {
        f"drives/{drive.name}": f"nobody on the storage network answers ARP for {drive.address}"
        if drive.address in site.silent
        else ""
        for drive in network.drives
        if drive.address not in site.neighbors
    }


def _check(before: int, after: int) -> tuple[Action, ...]:
    """Find out about packets too large for the way out, where that is the narrower one (MTUs in bytes)."""
    return (larger_than(after),) if before > after else ()


def _machine(machine: Machine, network: Network, storage: Storage, site: PipelineContext) -> Iterator[Flow]:
    key, client = network.key, client_address(storage, machine.number)
    yield flow(feature, Table.STORAGE, Priority.NORMAL, match("ip", metadata=key, ip_src=machine.address),
               (Meter(meter(MeterClass.MACHINE_STORAGE_OUT, machine.number)), set_ip(Field.IP_SRC, client),
                Goto(Table.STORAGE_OUT)),
               f"{machine.name} is {client}", key)  # fmt: skip
    actions = (
        Meter(meter(MeterClass.MACHINE_STORAGE_IN, machine.number)),
        set_ip(Field.IP_DST, machine.address),
        set_mac(Field.ETH_SRC, site.appliance.router_mac),
        set_mac(Field.ETH_DST, machine.mac),
        Goto(Table.SWITCH),
    )
    yield flow(feature, Table.STORAGE_MACHINE, Priority.NORMAL, match("ip", metadata=key, ip_dst=client),
               actions, f"{client} is {machine.name}", key)  # fmt: skip
