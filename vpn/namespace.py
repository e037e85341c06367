"""The network namespace of a VPN gateway: its two legs, its routes, and what may pass.

Made when it is missing, mended when it differs, used as it is found. Which way
a packet goes is told by policy routes (ip-rule(8)), never by a default route
of table `main`: what is for a remote prefix goes into the tunnel or nowhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import subprocess
from collections.abc import Iterable

from daemons.namespaces import NamespaceError, NetworkNamespace, exists, numbers_of, run
from state.vpn import INSIDE_MAC, OUTSIDE_MAC, TUNNEL_MTU, inside_port, namespace, outside_port
from vpn.desired_state import VpnGatewayConfig

INSIDE, OUTSIDE, TUNNEL = "inside", "outside", "ipsec0"
# Charon's own routes have a rule behind all others: ours say the way.
CHARON_TABLE, CHARON_RULE = 220, 40000
INTERFACE_ID = 42
_OUT, _IN, _OUTWARD = 71, 72, 73
_RULES = {
    "10": "from {address} iif lo lookup 71",
    "20": "iif ipsec0 lookup 72",
    "30": "iif inside lookup 73",
    "40": "iif outside lookup local",
    "41": "iif outside blackhole",
    "100": "lookup local",
    "32766": "lookup main",
}
# What a namespace takes over from the host and must not.
_SETTINGS = {
    "rp_filter": "0",
    "forwarding": "1",
    # Sources may be addresses that are here for charon's sake alone.
    "accept_local": "1",
    "send_redirects": "0",
    "accept_redirects": "0",
    # Packets with a source route (RFC 791) are dropped.
    "accept_source_route": "0",
}
_NEXT_HOP = "169.254.0.1"
_LAST = 4294967295
_MAIN = 32766
_SECONDS = 10
_SEGMENT = TUNNEL_MTU - 40

_FILTER = """
table ip sluice
delete table ip sluice
table ip sluice {{
    chain input {{
        type filter hook input priority 0; policy drop;
        iifname "lo" accept
        iifname "outside" ip daddr {address} udp dport {{ 500, 4500 }} accept
        iifname "outside" ip daddr {address} ip protocol esp accept
        iifname "outside" icmp type {{ destination-unreachable, time-exceeded }} limit rate 100/second accept
        iifname "ipsec0" icmp type echo-request limit rate 100/second burst 100 packets accept
        iifname "ipsec0" udp sport 53 accept
        iifname "ipsec0" tcp sport 53 tcp flags & (syn | ack) != syn accept
        iifname "ipsec0" udp sport 53 udp dport >= 32768 accept
        iifname "ipsec0" tcp sport 53 tcp dport >= 32768 accept
    }}
    chain forward {{
        type filter hook forward priority 0; policy drop;
        iifname "inside" oifname "ipsec0" jump segments
        iifname "ipsec0" oifname "inside" jump segments
    }}
    chain segments {{
        tcp flags syn tcp option maxseg size > {segment} tcp option maxseg size set {segment}
        accept
    }}
    chain output {{
        type filter hook output priority 0; policy accept;
        oifname "outside" ip saddr {address} udp sport {{ 500, 4500 }} accept
        oifname "outside" ip saddr {address} ip protocol esp accept
        oifname "outside" drop
    }}
}}
"""

Route = tuple[str, str, str, int]


def present() -> list[int]:
    """Keys of the networks whose gateways have a namespace by name."""
    return numbers_of(namespace(0)[:-1])


def kernel_has_esp() -> bool:
    """Whether this kernel has ESP and xfrm interfaces; tried in a namespace that is gone afterwards."""
    tries = (
        "ip link add x type xfrm dev lo if_id 1 && ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1"
        " mode tunnel aead 'rfc4106(gcm(aes))' 0x0102030405060708091011121314151617181920 128"
    )
    command = ["unshare", "--net", "sh", "-c", tries]
    done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    return done.returncode == 0


class GatewayNamespace(NetworkNamespace):
    """The namespace of one gateway; with `kernel_esp` its tunnel device is an xfrm interface, else charon's own."""

    def __init__(self, key: int, kernel_esp: bool) -> None:
        super().__init__(namespace(key))
        self._key, self._kernel_esp = key, kernel_esp

    def legs_present(self) -> bool:
        """Whether both legs have their ends in the host's namespace; a quick look."""
        return self.present and all(map(exists, (inside_port(self._key), outside_port(self._key))))

    def make(self, site: VpnGatewayConfig) -> bool:
        """Have namespace, legs, rules and filter as they must be; False when they were. Raises NamespaceError, OSError.

        An alias of the outside leg, given last, says what all was made for.
        """
        alias = _alias(site, self._kernel_esp)
        if self.legs_present():
            if self._alias() == alias:
                self._mend(site)
                return False
            self._forget_legs()
        self.have()
        self._forget_legs()
        for port, leg, mac in (
            (inside_port(self._key), INSIDE, INSIDE_MAC),
            (outside_port(self._key), OUTSIDE, OUTSIDE_MAC),
        ):
            self.add_leg(port, leg, mac, site.mtu if leg == INSIDE else 0)
        # Before the tunnel, which takes over those of `default`.
        self._mend(site)
        if self._kernel_esp and not self.within(lambda: exists(TUNNEL)):
            self.ip(f"link add {TUNNEL} type xfrm dev lo if_id {INTERFACE_ID}",
                     f"link set {TUNNEL} mtu {TUNNEL_MTU}")  # fmt: skip
        self.ip(
            "link set lo up",
            *([f"link set {TUNNEL} up"] if self._kernel_esp else []),
            f"link set {INSIDE} arp off up",
            f"link set {OUTSIDE} arp off up",
            f"address replace {site.gateway.address}/32 dev {OUTSIDE}",
            f"neighbor replace {_NEXT_HOP} lladdr {site.router_mac} dev {INSIDE} nud permanent",
            f"neighbor replace {_NEXT_HOP} lladdr {site.outside_mac} dev {OUTSIDE} nud permanent",
            f"route replace default via {_NEXT_HOP} dev {OUTSIDE} onlink table {_OUT}",
        )
        for port in (inside_port(self._key), outside_port(self._key)):
            run("ip", "link", "set", port, "up")
        self.ip(f"link set {OUTSIDE} alias {alias}")
        return True

    def route(self, site: VpnGatewayConfig, narrowed: Iterable[str] = (), closed: Iterable[str] = ()) -> None:
        """Have the routes of all prefixes, and the addresses charon needs. Raises NamespaceError.

        `narrowed` are prefixes inside the local ones that peers asked for, `closed` remote ones that no tunnel is
        for: who sends there is told. Only what differs is touched, so that the traffic of others goes on.
        """
        local = {prefix for one in site.gateway.connections for prefix in site.local_prefixes(one)}
        remote = {prefix for one in site.gateway.connections for prefix in one.remote_prefixes}
        tunnel = self.within(lambda: exists(TUNNEL))
        self._addresses({site.router, *(_address(prefix, site.router) for prefix in {*local, *narrowed})})
        inward = {("unicast", prefix, INSIDE, 0) for prefix in local}
        outward: set[Route] = {("unicast", prefix, TUNNEL, 0) for prefix in remote - set(closed)} if tunnel else set()
        nowhere: set[Route] = {("unreachable", prefix, "", _LAST) for prefix in remote}
        stop: set[Route] = {("unreachable", "default", "", _LAST)}
        self._table("main", inward | outward | nowhere, site.router)
        self._table(str(_IN), {*inward, ("local", f"{site.router}/32", "lo", 0), *stop})
        self._table(str(_OUTWARD), outward | stop)

    def forget_charon(self) -> None:
        """Take away what a charon that was killed left here. Raises NamespaceError."""
        with contextlib.suppress(NamespaceError):
            self.ip(f"rule delete priority {CHARON_RULE}")
        with contextlib.suppress(NamespaceError):
            self.ip(f"route flush table {CHARON_TABLE}")
        if self._kernel_esp:
            self.ip("xfrm state flush", "xfrm policy flush")
        elif self.within(lambda: exists(TUNNEL)):
            self.ip(f"link delete {TUNNEL}")

    def remove(self) -> None:
        """Take it away with its legs. Raises NamespaceError."""
        self._forget_legs()
        self.delete()

    def _alias(self) -> str:
        try:
            shown = self.shown("link", "show", OUTSIDE)
        except NamespaceError:
            return ""
        return str(shown[0].get("ifalias", "")) if shown else ""

    def _forget_legs(self) -> None:
        for port in (inside_port(self._key), outside_port(self._key)):
            if exists(port):
                # Its other end goes with it.
                run("ip", "link", "delete", port)

    def _mend(self, site: VpnGatewayConfig) -> None:
        """Have settings, filter and rules as they must be."""
        self.set_ipv4(("all", "default", INSIDE, OUTSIDE), _SETTINGS)
        # In one step, whatever was there.
        self.run("nft", "-f", "-", text=_FILTER.format(address=site.gateway.address, segment=_SEGMENT))
        rules = {priority: rule.format(address=site.gateway.address) for priority, rule in _RULES.items()}
        wanted = {f"{priority}: {_shown(rule)}" for priority, rule in rules.items()}
        shown = self.run("ip", "rule", "show").replace("[detached] ", "").splitlines()
        have = {" ".join(line.split()) for line in shown}
        if {line for line in have if int(line.split(":")[0]) <= _MAIN} == wanted:
            return
        self.ip("rule flush", *(f"rule add priority {priority} {rule}" for priority, rule in rules.items()))
        # The kernel's own, before which none of these would count.
        with contextlib.suppress(NamespaceError):
            self.ip("rule delete priority 0")

    def _addresses(self, wanted: set[str]) -> None:
        shown = self.shown("-4", "address", "show", "dev", "lo")
        have = {a["local"] for link in shown for a in link.get("addr_info", ()) if a["local"] != "127.0.0.1"}
        lines = [f"address add {address}/32 dev lo" for address in sorted(wanted - have)]
        lines += [f"address delete {address}/32 dev lo" for address in sorted(have - wanted)]
        if lines:
            self.ip(*lines)

    def _table(self, table: str, wanted: set[Route], source: str = "") -> None:
        # A table that never had a route does not exist.
        try:
            shown = self.shown("-4", "route", "show", "table", table)
        except NamespaceError:
            shown = []
        have = {
            (r.get("type", "unicast"), _canonical(r["dst"]), r.get("dev", ""), int(r.get("metric", 0))) for r in shown
        }
        lines = [_route("replace", route, table, source) for route in sorted(wanted - have)]
        lines += [_route("delete", route, table, source) for route in sorted(have - wanted)]
        if lines:
            self.ip(*lines)


def _alias(site: VpnGatewayConfig, kernel_esp: bool) -> str:
    parts = (site.gateway.address, str(site.mtu), site.router_mac, site.outside_mac, str(kernel_esp), _FILTER,
             str(_RULES))  # fmt: skip
    return "sluice-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _shown(rule: str) -> str:
    """A rule as `ip rule show` has it."""
    return rule if rule.startswith("from ") else f"from all {rule}"


def _address(prefix: str, router: str) -> str:
    """An address of this namespace in a prefix: charon installs no policy without one."""
    network = ipaddress.IPv4Network(prefix)
    return router if ipaddress.IPv4Address(router) in network else str(network.broadcast_address)


def _canonical(prefix: str) -> str:
    return prefix if "/" in prefix or prefix == "default" else f"{prefix}/32"


def _route(verb: str, route: Route, table: str, source: str) -> str:
    kind, prefix, device, metric = route
    way = {INSIDE: f"via {_NEXT_HOP} dev {INSIDE} onlink", "": ""}.get(device, f"dev {device}")
    line = f"route {verb} {kind} {prefix} {way} table {table}" + (f" metric {metric}" if metric else "")
    return f"{line} src {source}" if source and kind == "unicast" and verb == "replace" else line
