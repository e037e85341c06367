"""The network namespace of an interconnect: one leg to the bridge, and the address on the link.

No packet of a customer passes through it. Made when it is missing, mended when it differs.
"""

from __future__ import annotations

from bgp.desired_state import Link
from daemons.namespaces import NamespaceError, NetworkNamespace, exists, numbers_of, run
from state.interconnect import INTERCONNECT_MAC, leg_port, namespace

LEG = "link"
LEG_PORTS = r"bgp\d+"
# What a namespace takes over from the host and must not.
_SETTINGS = {
    "rp_filter": "0",
    # Before the others, which the kernel changes with it.
    "forwarding": "0",
    "send_redirects": "0",
    "accept_redirects": "0",
    # Packets with a source route (RFC 791) are dropped.
    "accept_source_route": "0",
    # Nobody else asks for its address than by the leg.
    "arp_ignore": "1",
}


def present() -> list[int]:
    """Numbers of the interconnects that have a namespace by name."""
    return numbers_of(namespace(0)[:-1])


class InterconnectNamespace(NetworkNamespace):
    """The namespace of the interconnect of one number."""

    def __init__(self, number: int) -> None:
        super().__init__(namespace(number))
        self.port = leg_port(number)

    def leg_present(self) -> bool:
        """Whether it is there and the leg has its end in the host's namespace; a quick look."""
        return self.present and exists(self.port)

    def make(self, link: Link) -> bool:
        """Have all as it must be; whether the leg was made anew. Raises NamespaceError, OSError."""
        self.have()
        made = not self.leg_present() or not self._leg_right()
        if made:
            self._forget_leg()
            if self.within(lambda: exists(LEG)):
                self.ip(f"link delete dev {LEG}")
            self.add_leg(self.port, LEG, INTERCONNECT_MAC, link.mtu)
        self._mend(link)
        run("ip", "link", "set", self.port, "mtu", str(link.mtu), "up")
        return made

    def remove(self) -> None:
        """Take it away with its leg. Raises NamespaceError."""
        self._forget_leg()
        self.delete()

    def _leg_right(self) -> bool:
        """Whether the other end of the leg is here, with our address on it."""
        try:
            shown = self.shown("link", "show", "dev", LEG)
        except NamespaceError:
            return False
        return bool(shown) and shown[0].get("address") == INTERCONNECT_MAC

    def _forget_leg(self) -> None:
        if exists(self.port):
            # Its other end goes with it.
            run("ip", "link", "delete", self.port)

    def _mend(self, link: Link) -> None:
        self.set_ipv4(("all", "default", LEG), _SETTINGS)
        one = link.interconnect
        lines = ["link set lo up", f"link set dev {LEG} mtu {link.mtu} up"]
        shown = self.shown("-4", "address", "show", "dev", LEG)
        have = [f"{a['local']}/{a['prefixlen']}" for found in shown for a in found.get("addr_info", ())]
        # The old ones first: of two addresses in one prefix the kernel takes the second away with the first.
        lines += [f"address delete {address} dev {LEG}" for address in have if address != one.local_address]
        lines += [f"address replace {one.local_address} dev {LEG}"]
        # Made by earlier versions; nobody is answered but the peer.
        lines += ["route flush exact default"]
        self.ip(*lines)
