"""A customer's own site somewhere in the Internet: a router with its own strongSwan, and a PC behind it.

The router's IKE daemon is configured here by hand, independently of Sluice, as
a customer's would be.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import vici
from machines import INTERFACE, Machine
from mininet.link import Link
from mininet.node import Host
from sandbox import Sandbox
from supervisor import await_condition

CHARON = "/usr/lib/ipsec/charon"
LAN = "lan"
# Links between the Internet and sites, of four addresses each.
_LINKS = ipaddress.IPv4Network("198.51.100.64/26")
_DIRECTORY = Path("/run/corporate")
_START_SECONDS = 10.0
# What the Internet forwards by: what comes from the appliance goes to sites and nowhere else.
_TABLE = _RULE = "66"
_CABLE = "-up"
# What a site's router asks first: routes it learned, then tunnels, then the Internet, where inner addresses are not.
_ROUTES, _TUNNELS, _INNER = 200, 220, 300
INNER = ("10.0.0.0/8", "192.168.0.0/16")

IKE_PROPOSALS = ("aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048")
ESP_PROPOSALS = ("aes256gcm16-ecp384", "aes256-sha256-modp2048")

_CONFIGURATION = """
charon {{
    load = random nonce openssl kdf pem pkcs1 pkcs8 x509 pubkey constraints kernel-libipsec kernel-netlink \
socket-default vici updown
    threads = 16
    install_virtual_ip = no
    routing_table_prio = {priority}
    interfaces_use = {wan}
    retransmit_timeout = 1.0
    retransmit_tries = 3
    retransmit_base = 1.5
    filelog {{
        main {{
            path = /run/charon.log
            default = 1
            flush_line = yes
        }}
    }}
    plugins {{
        vici {{
            socket = unix:///run/charon.vici
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Peering:
    """How a site's router speaks with a VPN gateway; `secret` is the pre-shared key.

    `start` is what it does by itself: `none` waits for the gateway, `start`
    opens the connection too. `more` adds or replaces settings of the
    connection, `child` those of its child (swanctl.conf(5)).
    """

    gateway: str
    secret: str
    local: Sequence[str]
    remote: Sequence[str]
    start: str = "none"
    version: int = 2
    ike_proposals: Sequence[str] = IKE_PROPOSALS
    esp_proposals: Sequence[str] = ESP_PROPOSALS
    local_identity: str = ""
    remote_identity: str = ""
    dpd: str = "2s"
    more: Mapping[str, Any] | None = None
    child: Mapping[str, Any] | None = None


class CorporateSite:
    """The router `NAME-gw` and the PC `NAME` (the first and the tenth address of `prefix`), with echo servers."""

    def __init__(self, sandbox: Sandbox, name: str, prefix: str, number: int) -> None:
        self._sandbox = sandbox
        self.name, self.prefix = name, prefix
        lan = ipaddress.IPv4Network(prefix)
        self.router_address, self.pc_address = str(lan[1]), str(lan[10])
        self.directory = _DIRECTORY / name
        self._process: subprocess.Popen[bytes] | None = None
        net = sandbox.site.net
        self.router: Machine = net.addHost(f"{name}-gw", cls=Machine)
        self.pc: Machine = net.addHost(name, cls=Machine)
        self.address = uplink(sandbox, self.router, number)
        net.addLink(self.pc, self.router, cls=Link, intfName1=INTERFACE, intfName2=LAN)
        self.pc.configure()
        inner = [f"ip route add unreachable {prefix} table {_INNER}" for prefix in INNER]
        configure(self.router, LAN, f"ip address add {self.router_address}/{lan.prefixlen} dev {LAN}",
                f"ip rule add lookup main suppress_prefixlength 0 priority {_ROUTES}",
                f"ip rule add lookup {_INNER} priority {_INNER}", *inner,
                "for conf in all default lan; do echo 0 >/proc/sys/net/ipv4/conf/$conf/rp_filter; done",
                "echo 1 >/proc/sys/net/ipv4/ip_forward")  # fmt: skip
        self.pc.run("ip", "address", "add", f"{self.pc_address}/{lan.prefixlen}", "dev", INTERFACE)
        self.pc.run("ip", "route", "add", "default", "via", self.router_address)
        sandbox.responders.add(self.pc.name, self.pc.pid)
        sandbox.responders.add(self.router.name, self.router.pid)
        sandbox.site.machines |= {host.name: host for host in (self.router, self.pc)}
        sandbox.publish()

    def close(self) -> None:
        """End its daemon and take it away."""
        self.kill(signal.SIGTERM)
        net = self._sandbox.site.net
        for host in (self.pc, self.router):
            self._sandbox.responders.remove(host.name)
            del self._sandbox.site.machines[host.name]
        for link in net.linksBetween(self.pc, self.router):
            net.delLink(link)
        unlink(self._sandbox, self.router)
        for host in (self.pc, self.router):
            net.delHost(host)
        self._sandbox.publish()

    def start(self) -> None:
        """Start the router's IKE daemon, which knows no connection yet. Raises TimeoutError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "charon.conf").write_text(_CONFIGURATION.format(wan=INTERFACE, priority=_TUNNELS))
        # Charon does not start while another seems to run.
        for stale in ("charon.pid", "charon.vici"):
            (self.directory / stale).unlink(missing_ok=True)
        self.router.run("sh", "-c", "ip route flush table 220; ip link delete ipsec0 2>/dev/null || true")
        # The name of its pid file is compiled in: each daemon has a /run of its own.
        self._process = self.router.start(
            *("unshare", "--mount", "sh", "-c", f"mount --bind {self.directory} /run && exec {CHARON}"),
            env={**os.environ, "STRONGSWAN_CONF": "/run/charon.conf"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        await_condition(self._answers, f"charon of {self.name} answers", _START_SECONDS)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the router's IKE daemon, and with it its tunnels."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            self._process.wait(10)
            self._process = None

    def connect(self, name: str, peering: Peering) -> None:
        """Have the router know a connection, in place of one of that name."""
        for prefix in peering.local:
            # charon takes no selectors without an address of its own in them (kernel-libipsec).
            self.router.run("ip", "address", "replace", f"{ipaddress.IPv4Network(prefix)[-2]}/32", "dev", "lo")
        identities = peering.local_identity or self.address, peering.remote_identity or peering.gateway
        child = {
            "mode": "tunnel",
            "local_ts": list(peering.local),
            "remote_ts": list(peering.remote),
            "esp_proposals": list(peering.esp_proposals),
            "dpd_action": "restart" if peering.start == "start" else "clear",
            "start_action": peering.start,
            **(peering.child or {}),
        }
        connection = {
            "version": str(peering.version),
            "local_addrs": [self.address],
            "remote_addrs": [peering.gateway],
            "proposals": list(peering.ike_proposals),
            "local": {"auth": "psk", "id": identities[0]},
            "remote": {"auth": "psk", "id": identities[1]},
            "dpd_delay": peering.dpd,
            "keyingtries": "0",
            "mobike": "no",
            "unique": "replace",
            "encap": "yes",
            "children": {name: child},
            **(peering.more or {}),
        }
        with self.session() as session:
            if peering.secret:
                shared = {"id": name, "type": "IKE", "data": peering.secret, "owners": list(identities[::-1])}
                session.load_shared(shared)
            session.load_conn({name: connection})

    def connect_by_certificate(
        self, name: str, peering: Peering, certificate: str, private_key: str, authority: str, own: str, peer: str
    ) -> None:
        """As `connect`, with certificates (PEM) for the identities `own` and `peer` instead of a secret."""
        with self.session() as session:
            session.load_key({"type": "any", "data": private_key})
            session.load_cert({"type": "X509", "flag": "CA", "data": authority})
        local = {"auth": "pubkey", "id": own, "certs": [certificate]}
        more = {"local": local, "remote": {"auth": "pubkey", "id": peer}}
        self.connect(name, replace(peering, secret="", more={**(peering.more or {}), **more}))

    def forget(self, name: str) -> None:
        """Have the router know a connection no more, and close it."""
        with self.session() as session:
            session.unload_conn({"name": name})
            session.unload_shared({"id": name})
            with contextlib.suppress(vici.exception.CommandException):
                list(session.terminate({"ike": name, "force": "yes"}))

    def established(self) -> list[str]:
        """The connections that have a tunnel now."""
        with self.session() as session:
            return [
                name.decode() if isinstance(name, bytes) else name
                for one in session.list_sas()
                for name, sa in one.items()
                if any(child["state"] == b"INSTALLED" for child in sa["child-sas"].values())
            ]

    def rekey(self, name: str) -> None:
        """Have the router replace the keys of a connection's child and then of IKE."""
        with self.session() as session:
            session.rekey({"child": name})
            session.rekey({"ike": name})

    @contextmanager
    def session(self) -> Iterator[Any]:
        """A session with the IKE daemon's control socket. Raises OSError while it does not answer."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(15)
            link.connect(str(self.directory / "charon.vici"))
            yield vici.Session(link)

    def _answers(self) -> bool:
        try:
            with self.session() as session:
                session.version()
        except OSError:
            return False
        return True


def uplink(sandbox: Sandbox, router: Machine, number: int, remote: str = "") -> str:
    """Link a router to the Internet by the link `number`, as its default route; its address there.

    What comes from the appliance reaches that address, and the prefix `remote` the router.
    """
    near, address = _LINKS[4 * number + 1], _LINKS[4 * number + 2]
    internet, cable = sandbox.internet, f"{router.name}{_CABLE}"
    sandbox.site.net.addLink(router, internet, cls=Link, intfName1=INTERFACE, intfName2=cable)
    router.configure()
    routes = [f"ip route replace {remote} via {address} table {table}" for table in ("main", _TABLE) if remote]
    configure(internet, cable, f"ip address add {near}/30 dev {cable}",
            f"ip route replace {address}/32 dev {cable} table {_TABLE}", *routes,
            f"ip route replace blackhole default table {_TABLE}",
            f"ip rule del priority {_RULE} 2>/dev/null || true",
            f"ip rule add iif {INTERFACE} lookup {_TABLE} priority {_RULE}",
            f"echo 1 >/proc/sys/net/ipv4/conf/{INTERFACE}/forwarding",
            f"echo 1 >/proc/sys/net/ipv4/conf/{cable}/forwarding")  # fmt: skip
    router.run("ip", "address", "add", f"{address}/30", "dev", INTERFACE)
    router.run("ip", "route", "add", "default", "via", str(near))
    return str(address)


def unlink(sandbox: Sandbox, router: Machine) -> None:
    """Take away the link that `uplink` made, and with the last such link what it changed in the Internet."""
    net, internet = sandbox.site.net, sandbox.internet
    for link in net.linksBetween(router, internet):
        net.delLink(link)
    if not any(name.endswith(_CABLE) for name in internet.intfNames()):
        internet.run("sh", "-ec", f"ip rule del priority {_RULE}; ip route flush table {_TABLE}; "
                     f"echo 0 >/proc/sys/net/ipv4/conf/{INTERFACE}/forwarding")  # fmt: skip


def configure(host: Host, interface: str, *commands: str) -> None:
    """Bring up an interface that computes its checksums itself, then run `commands`."""
    first = f"ethtool -K {interface} tx off >/dev/null; ip link set {interface} up"
    host.run("sh", "-ec", "; ".join((first, *commands)))


def seconds_until_established(site: CorporateSite, name: str, limit: float = 30.0) -> float:
    """How long it takes from now until a connection of a site has a tunnel. Raises TimeoutError."""
    began = time.monotonic()
    await_condition(lambda: name in site.established(), f"{name} of {site.name} established", limit)
    return time.monotonic() - began
