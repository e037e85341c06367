"""One appliance and the networks that golden files, traces and properties speak of."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

from controller.reconcile.compile import PipelineContext
from state.additional import AdditionalAddress, AllowedAddress
from state.interconnect import Interconnect, InterconnectKind, Route, Session
from state.interconnect_rows import order
from state.model import Appliance, Attachment, Drive, Gateway, Kind, Machine, Network, PortBlock, Storage
from state.vpn import Role, VpnConnection, VpnGateway

APPLIANCE = Appliance(
    gateway=Gateway("uplink", "203.0.113.2/24", "203.0.113.1"),
    nat_pool=("203.0.113.64/28",),
    protected=("198.18.0.0/24",),
    public_pool=("203.0.113.128/28",),
    resolver_port="names",
    storage=Storage("storage", "10.250.0.2/24"),
)


def session(number: int, *routes: Route) -> Session:
    """A session that is up, and what was learned by it."""
    return Session(True, f"02:00:00:00:cc:{number:02x}", tuple(sorted(routes, key=order)))


# One that may send from any public prefix, and one from its own only; both have announced that.
PEERINGS = (
    Interconnect(
        "carrier", InterconnectKind.PEERING, 44, 1, "cross1", 44, "169.254.44.1/30", "169.254.44.2", 64512, 65010,
        session=session(44, Route("151.101.0.0/16", "65010 65011"), Route("151.102.0.0/16", "65010")),
    ),
    Interconnect(
        "exchange", InterconnectKind.PEERING, 45, 2, "cross2", 45, "169.254.45.1/30", "169.254.45.2", 64512, 65020,
        accept=("151.101.0.0/16",), session=session(45, Route("151.101.0.0/16", "65020")),
    ),
)  # fmt: skip
SITE = PipelineContext(
    APPLIANCE,
    ports={
        "uplink": 1,
        "web1": 11,
        "web2": 12,
        "web5": 15,
        "trunk": 20,
        "vxlan": 21,
        "db1": 31,
        "db10": 32,
        "names": 2,
        "storage": 3,
        "vpn7-in": 71,
        "vpn7-out": 72,
        "vpn8-in": 81,
        "vpn8-out": 82,
        "vpn40-in": 61,
        "vpn40-out": 62,
        "cross1": 51,
        "cross2": 52,
        "cross3": 53,
        "bgp41": 141,
        "bgp42": 142,
        "bgp43": 143,
        "bgp44": 144,
        "bgp45": 145,
    },
    neighbors={
        "203.0.113.1": "02:00:00:00:00:fe",
        "10.250.0.10": "02:00:00:00:d0:10",
        "10.250.0.11": "02:00:00:00:d0:11",
        "10.250.0.12": "02:00:00:00:d0:12",
        "10.250.0.13": "02:00:00:00:d0:13",
        "10.250.0.14": "02:00:00:00:d0:14",
    },
    peerings=PEERINGS,
)


def block(number: int) -> PortBlock:
    """The port block a network with this key would get first."""
    return PortBlock("203.0.113.64", number * 1024, number * 1024 + 1023)


def transit(key: int, address: str) -> str:
    """A transit address with the ones' complement sum of `address`, as the agent gives one out."""
    upper = 0xF000 + key
    value = int(ipaddress.IPv4Address(address))
    return str(ipaddress.IPv4Address(upper << 16 | ((value >> 16) + (value & 0xFFFF) - upper) % 0xFFFF))


def isolated(key: int, port: str, vlan: int | None = None) -> Network:
    """An isolated network whose machine, MAC and addresses follow from its key."""
    base = f"172.16.{key // 64}"
    host = key % 64 * 4
    address = f"{base}.{host + 2}"
    machine = Machine(
        f"web{key}", key, f"02:00:00:01:00:{key:02x}", address, address, f"web{key}", Attachment(port, vlan)
    )
    return Network(
        f"web{key}", Kind.ISOLATED, "acme", key, f"{base}.{host}/30", f"{base}.{host + 1}", block(key),
        machines=(machine,),
    )  # fmt: skip


def private(
    key: int, name: str, attachments: list[Attachment], first: int, mtu: int = 1500, drives: tuple[Drive, ...] = ()
) -> Network:
    """A private network 10.0.0.0/16 with one machine an attachment, numbered from `first`."""
    machines = tuple(
        Machine(
            f"{name}{n + 1}", first + n, f"02:00:00:{key:02x}:00:{n + 1:02x}", f"10.0.0.{n + 2}",
            transit(key, f"10.0.0.{n + 2}"), f"{name}{n + 1}", attachment,
        )
        for n, attachment in enumerate(attachments)
    )  # fmt: skip
    return Network(name, Kind.PRIVATE, name, key, "10.0.0.0/16", "10.0.0.1", block(key), mtu=mtu, machines=machines,
                   drives=drives)  # fmt: skip


ISOLATED = isolated(1, "web1")
ISOLATED_VLAN = isolated(2, "trunk", vlan=7)
# Two machines behind one VNI, one on a VLAN, one on a port of its own.
OFFICE = private(
    3, "office",
    [Attachment("vxlan", vni=300), Attachment("vxlan", vni=300), Attachment("trunk", vlan=30), Attachment("db1")],
    first=10, mtu=1400, drives=(Drive("files", "10.250.0.10"),),
)  # fmt: skip
# Two VLANs of one trunk in one network, and packets larger than the gateway's and the storage network's.
SHOP = private(
    4, "shop", [Attachment("trunk", vlan=41), Attachment("trunk", vlan=42)],
    first=20, mtu=9000, drives=(Drive("till", "10.250.0.11"),),
)  # fmt: skip
NETWORKS = (ISOLATED, ISOLATED_VLAN, OFFICE, SHOP)


def with_public(network: Network, address: str, zone: int) -> Network:
    """The network with a public address for its first machine."""
    first, *others = network.machines
    return dataclasses.replace(
        network, machines=(dataclasses.replace(first, public=address, public_zone=zone), *others)
    )


# An isolated machine with a public address; a private network where one of two has one.
PUBLIC_WEB = with_public(isolated(5, "web5"), "203.0.113.130", 2)
PUBLIC_LAB = with_public(
    private(6, "lab", [Attachment("trunk", vlan=61), Attachment("trunk", vlan=62)], first=30), "203.0.113.131", 3
)
PUBLIC_NETWORKS = (PUBLIC_WEB, PUBLIC_LAB)
# One with two connections, a peer by name and a drive; one with the same prefixes on both sides, whose peer may have
# any address; and one whose gateway is not there yet.
BRANCH = dataclasses.replace(
    private(7, "branch", [Attachment("trunk", vlan=71), Attachment("trunk", vlan=72)], first=40,
            drives=(Drive("archive", "10.250.0.12"),)),
    vpn=VpnGateway("branch-vpn", 49, "203.0.113.132", 4, (
        VpnConnection("hq", "198.51.100.20", ("192.168.0.0/16", "10.77.0.0/16"), peer_addresses=("198.51.100.20",)),
        VpnConnection("plant", "vpn.plant.example", ("172.20.0.0/16",),
                      peer_addresses=("198.51.100.30", "198.51.100.31")),
    )),
)  # fmt: skip
BUREAU = dataclasses.replace(
    private(8, "bureau", [Attachment("trunk", vlan=81)], first=50, mtu=1400),
    vpn=VpnGateway("bureau-vpn", 59, "203.0.113.133", 5, (
        VpnConnection("travellers", "", ("192.168.0.0/16",), role=Role.RESPONDER),
    )),
)  # fmt: skip
DEPOT = dataclasses.replace(
    private(9, "depot", [Attachment("trunk", vlan=91)], first=60),
    vpn=VpnGateway("depot-vpn", 69, "203.0.113.134", 6, (
        VpnConnection("home", "198.51.100.40", ("192.168.0.0/16",), peer_addresses=("198.51.100.40",)),
    )),
)  # fmt: skip
VPN_NETWORKS = (BRANCH, BUREAU, DEPOT)


def direct_connect(name: str, number: int, slot: int, accept: tuple[str, ...], **fields: Any) -> Interconnect:
    """A Direct Connect on VLAN `number` of the port `cross1`, or the one given."""
    settings = {"port": "cross1", "vlan": number, "local_address": f"169.254.{number}.1/30", **fields}
    return Interconnect(
        name, InterconnectKind.DIRECT_CONNECT, number, slot, peer_address=f"169.254.{number}.2",
        local_as=64512, peer_as=65001, client=100 + number, zone=100 + number, accept=accept, **settings,
    )  # fmt: skip


# Two that back each other up, on two ports, and a VPN that backs up both; a drive; a prefix that only the VPN has.
CLINIC = dataclasses.replace(
    private(40, "clinic", [Attachment("trunk", vlan=401), Attachment("trunk", vlan=402)], first=80,
            drives=(Drive("records", "10.250.0.13"),)),
    vpn=VpnGateway("clinic-vpn", 89, "203.0.113.136", 7, (
        VpnConnection("backup", "198.51.100.50", ("192.168.0.0/16", "172.21.0.0/16"),
                      peer_addresses=("198.51.100.50",)),
    ), created_at=2),
    interconnects=(
        direct_connect("clinic-a", 41, 1, ("10.0.0.0/8", "192.168.0.0/16"), created_at=1, session=session(
            41, Route("192.168.50.0/24", "65001"), Route("192.168.51.0/24", "65001"), Route("10.20.0.0/16", "65001"),
        )),
        direct_connect("clinic-b", 42, 2, ("10.0.0.0/8", "192.168.0.0/16"), port="cross2", preference=50,
                       created_at=1, session=session(
            42, Route("192.168.50.0/24", "65001"), Route("192.168.50.128/25", "65001"), Route("10.20.0.0/16", "65001"),
        )),
    ),
)  # fmt: skip
# The same prefixes on both sides, untagged, of which nothing is learned yet.
STUDIO = dataclasses.replace(
    private(41, "studio", [Attachment("trunk", vlan=411)], first=90, mtu=1400),
    interconnects=(direct_connect("studio-a", 43, 1, ("192.168.0.0/16",), port="cross3", vlan=None),),
)
INTERCONNECT_NETWORKS = (CLINIC, STUDIO)


def with_additional(network: Network, first: int, listed: dict[int, tuple[AllowedAddress, ...]]) -> Network:
    """The network with additional addresses, numbered from `first`, for the machines at these places."""
    machines = tuple(
        dataclasses.replace(m, allowed=tuple(sorted(listed.get(n, ()), key=lambda one: one.address)))
        for n, m in enumerate(network.machines)
    )
    addresses = sorted({one.address for allowed in listed.values() for one in allowed})
    additional = tuple(
        AdditionalAddress(address, transit(network.key, address), first + n) for n, address in enumerate(addresses)
    )
    return dataclasses.replace(network, machines=machines, additional=additional)


# One address that moves with its holder's MAC, and two that have a virtual one; two of those that may hold the last
# are behind one VNI. The fifth machine may hold none.
MOVING = AllowedAddress("10.0.9.9")
VRRP = AllowedAddress("10.0.9.10", "00:00:5e:00:01:33")
VRRP_BEHIND = AllowedAddress("10.0.9.11", "00:00:5e:00:01:34")
CLUSTER = with_additional(
    dataclasses.replace(
        private(
            10, "cluster",
            [Attachment("trunk", vlan=101), Attachment("trunk", vlan=102), Attachment("vxlan", vni=1010),
             Attachment("vxlan", vni=1010), Attachment("db10")],
            first=110, drives=(Drive("state", "10.250.0.14"),),
        ),
        vpn=VpnGateway("cluster-vpn", 129, "203.0.113.137", 9, (
            VpnConnection("away", "198.51.100.60", ("192.168.0.0/16",), peer_addresses=("198.51.100.60",)),
        )),
    ),
    120, {0: (MOVING, VRRP), 1: (MOVING, VRRP), 2: (VRRP, VRRP_BEHIND), 3: (VRRP_BEHIND,)},
)  # fmt: skip
ADDITIONAL_NETWORKS = (CLUSTER,)
ALL_NETWORKS = (*NETWORKS, *PUBLIC_NETWORKS, *VPN_NETWORKS, *INTERCONNECT_NETWORKS, *ADDITIONAL_NETWORKS)
