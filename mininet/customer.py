"""Routers of others behind cross-connects: a customer's, with its site behind it, and one of another network (AS)."""

from __future__ import annotations

import ipaddress
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bgp_speaker import BgpSpeaker, Neighbor
from corporate import LAN, CorporateSite, configure, unlink, uplink
from crossconnect import CrossConnect
from machines import INTERFACE, Machine
from mininet.link import Link
from sandbox import Sandbox

_DIRECTORY = Path("/run/customers")
# Without it a changed route map counts after five seconds, if at all.
_SEND_AGAIN = "clear bgp ipv4 unicast {} soft out"


@dataclass(frozen=True, slots=True)
class Connection:
    """One link of a router: its interface on VLAN `vlan` (0: untagged) of a cross-connect, and both addresses."""

    interface: str
    cross_connect: CrossConnect
    vlan: int
    address: str
    peer: str

    @property
    def ip(self) -> str:
        """The router's address, without its prefix length."""
        return self.address.split("/")[0]

    def fields(self, peer_as: int) -> dict[str, Any]:
        """The fields of an interconnect that is this link's other side."""
        length = self.address.split("/")[1]
        return {
            "port": self.cross_connect.port,
            "vlan": self.vlan,
            "local_address": f"{self.peer}/{length}",
            "peer_address": self.ip,
            "peer_as": peer_as,
        }


class BgpRouter:
    """What speaks BGP and BFD on the router `router`, in the AS `asn`; what it learns, its kernel forwards by."""

    def __init__(self, router: Machine, asn: int, password: str = "", *, peer_as: int = 64512) -> None:
        self.router, self.asn = router, asn
        self.speaker = BgpSpeaker(f"/proc/{router.pid}/ns/net", _DIRECTORY / router.name)
        self.connections: dict[str, Connection] = {}
        self._neighbor = Neighbor("", peer_as, password=password)

    def join(
        self, cross_connect: CrossConnect, interface: str, vlan: int, link: str, *, first: bool = False
    ) -> Connection:
        """One more link; of its prefix `link` this router has the second address, or the first, its peer the other."""
        prefix = ipaddress.IPv4Network(link)
        own, peer = (prefix[1], prefix[2]) if first else (prefix[2], prefix[1])
        made = Connection(interface, cross_connect, vlan, f"{own}/{prefix.prefixlen}", str(peer))
        cross_connect.join(self.router, interface, vlan or None, made.address)
        self.router.run("sh", "-c", f"echo 0 >/proc/sys/net/ipv4/conf/{interface}/rp_filter")
        self.connections[interface] = made
        return made

    def start(self, *networks: str, **changes: object) -> None:
        """Start it, announcing `networks` on every link; `changes` are fields of `Neighbor`."""
        neighbors = [
            replace(self._neighbor, address=one.peer, networks=networks, **changes)  # type: ignore[arg-type]
            for one in self.connections.values()
        ]
        first = next(iter(self.connections.values()))
        self.speaker.start_with(first.ip, self.asn, *neighbors)

    def announce(self, *networks: str) -> None:
        """Announce more networks on every link. Raises BgpSpeakerError, OSError."""
        self.speaker.announce(self.asn, *networks)

    def withdraw(self, *networks: str) -> None:
        """Announce these no more. Raises BgpSpeakerError, OSError."""
        self.speaker.announce(self.asn, *networks, withdraw=True)

    def only_on(self, interface: str, *networks: str) -> None:
        """Announce these networks on no link but this one. Raises BgpSpeakerError, OSError."""
        hidden = [f"ip prefix-list hidden permit {prefix}" for prefix in networks]
        lines = [*hidden, "route-map others deny 10", "match ip address prefix-list hidden", "exit"]
        lines += ["route-map others permit 20", "exit", f"router bgp {self.asn}", "address-family ipv4 unicast"]
        others = [one for name, one in self.connections.items() if name != interface]
        self.speaker.configure(*lines, *(f"neighbor {one.peer} route-map others out" for one in others))
        for one in others:
            self.speaker.vty(_SEND_AGAIN.format(one.peer))

    def prefer_less(self, interface: str, *, prepend: int = 0, med: int = 0) -> None:
        """Announce everything on a link with a longer AS path, or a MED; neither: as before. Raises as above."""
        name = f"worse-{interface}"
        # Changed in place: bgpd 8.4 may crash when a route map in use is deleted.
        settings = [
            f"set as-path prepend {' '.join([str(self.asn)] * prepend)}" if prepend else "no set as-path prepend",
            f"set metric {med}" if med else "no set metric",
        ]
        lines = [f"route-map {name} permit 10", *settings, "exit"]
        lines += [f"router bgp {self.asn}", "address-family ipv4 unicast"]
        peer = self.connections[interface].peer
        self.speaker.configure(*lines, f"neighbor {peer} route-map {name} out")
        self.speaker.vty(_SEND_AGAIN.format(peer))

    def warn(self, interface: str, *, warned: bool = True) -> None:
        """Announce everything on a link with the community GRACEFUL_SHUTDOWN, or without. Raises as above."""
        # RFC 8326. Not `bgp graceful-shutdown`, which is for all links.
        setting = "set community graceful-shutdown" if warned else "no set community"
        lines = [f"route-map worse-{interface} permit 10", setting, "exit"]
        lines += [f"router bgp {self.asn}", "address-family ipv4 unicast"]
        peer = self.connections[interface].peer
        self.speaker.configure(*lines, f"neighbor {peer} route-map worse-{interface} out")
        self.speaker.vty(_SEND_AGAIN.format(peer))

    def hold_back(self, within: str, length: int, *, held: bool = True) -> None:
        """Announce no prefixes of `length` or more within `within`, or all again. Raises as above."""
        words = "neighbor" if held else "no neighbor"
        lines = [f"ip prefix-list held permit {within} ge {length}", "route-map short deny 10"]
        lines += ["match ip address prefix-list held", "exit", "route-map short permit 20", "exit"]
        lines += [f"router bgp {self.asn}", "address-family ipv4 unicast"]
        lines += [f"{words} {one.peer} route-map short out" for one in self.connections.values()]
        self.speaker.configure(*lines)

    def favor(self, interface: str) -> None:
        """Send by this link while it is there, whatever the others announce. Raises as above."""
        lines = [f"neighbor {one.peer} weight {200 * (name == interface)}" for name, one in self.connections.items()]
        self.speaker.configure(f"router bgp {self.asn}", "address-family ipv4 unicast", *lines)

    def shut(self, interface: str, *, shut: bool = True) -> None:
        """Close the session of a link as an administrator does, or open it again. Raises as above."""
        words = "neighbor" if shut else "no neighbor"
        self.speaker.configure(f"router bgp {self.asn}", f"{words} {self.connections[interface].peer} shutdown")

    def freeze(self) -> None:
        """Have BGP and BFD say and hear nothing more; the router goes on forwarding."""
        self.speaker.kill("bgpd", "bfdd", number=signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        self.speaker.kill("bgpd", "bfdd", number=signal.SIGCONT)

    def established(self, interface: str) -> bool:
        """Whether the session of a link is, as this router sees it."""
        return self.speaker.established(self.connections[interface].peer)

    def watched(self, interface: str) -> bool:
        """Whether BFD is up on a link."""
        peers = self.speaker.show("bfd peers", program="bfdd")
        return any(one["peer"] == self.connections[interface].peer and one["status"] == "up" for one in peers)

    def close(self) -> None:
        """End its daemons and take its links away."""
        self.speaker.kill()
        for one in self.connections.values():
            one.cross_connect.part(self.router)


class CustomerRouter(BgpRouter):
    """A customer's site, whose router speaks BGP; by its Internet access it may have a VPN too."""

    def __init__(self, sandbox: Sandbox, name: str, prefix: str, number: int, asn: int, password: str = "") -> None:
        self.site = CorporateSite(sandbox, name, prefix, number)
        super().__init__(self.site.router, asn, password)

    @property
    def pc(self) -> Machine:
        """A host of the site."""
        return self.site.pc

    def close(self) -> None:
        """Take all of it away."""
        super().close()
        self.site.close()


class PeeringNetwork(BgpRouter):
    """Another network of the Internet: its router `NAME-gw`, and a host `NAME` in its public prefix `prefix`.

    Both are reached by the Internet as well.
    """

    def __init__(self, sandbox: Sandbox, name: str, prefix: str, number: int, asn: int, password: str = "") -> None:
        self._sandbox, self.prefix = sandbox, prefix
        lan, net = ipaddress.IPv4Network(prefix), sandbox.site.net
        router: Machine = net.addHost(f"{name}-gw", cls=Machine)
        self.host: Machine = net.addHost(name, cls=Machine)
        self.address = str(lan[10])
        uplink(sandbox, router, number, prefix)
        net.addLink(self.host, router, cls=Link, intfName1=INTERFACE, intfName2=LAN)
        self.host.configure()
        configure(router, LAN, f"ip address add {lan[1]}/{lan.prefixlen} dev {LAN}",
               "for conf in all default lan; do echo 0 >/proc/sys/net/ipv4/conf/$conf/rp_filter; done",
               "echo 1 >/proc/sys/net/ipv4/ip_forward")  # fmt: skip
        self.host.run("ip", "address", "add", f"{self.address}/{lan.prefixlen}", "dev", INTERFACE)
        self.host.run("ip", "route", "add", "default", "via", str(lan[1]))
        super().__init__(router, asn, password)
        sandbox.responders.add(name, self.host.pid)
        sandbox.site.machines |= {host.name: host for host in (router, self.host)}
        sandbox.publish()

    def close(self) -> None:
        """Take all of it away."""
        super().close()
        net = self._sandbox.site.net
        self._sandbox.responders.remove(self.host.name)
        for link in net.linksBetween(self.host, self.router):
            net.delLink(link)
        unlink(self._sandbox, self.router)
        for host in (self.host, self.router):
            del self._sandbox.site.machines[host.name]
            net.delHost(host)
        self._sandbox.publish()
