"""Mininet's side of a sandbox: machines, the Internet, and the appliance's bridge as their switch."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance import RunningAppliance, run
from mininet.link import Intf, Link
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import Host, Switch
from settings import BRIDGE

INTERFACE = "eth0"
# Where machines are that are not on ports of their own: behind a trunk port, and behind a tunnel port.
RACK, TRUNK = "rack", "trunk0"
HYPERVISOR, TUNNEL = "hypervisor", "vxlan0"
UNDERLAY, UNDERLAY_APPLIANCE, UNDERLAY_HYPERVISOR = "underlay", "198.18.0.1", "198.18.0.2"
DHCP_SCRIPT = Path(__file__).resolve().parent / "udhcpc-script"

# The storage network: a switch of its own, one cable to the appliance.
STORAGE_NETWORK, STORAGE_CABLE = "storagenet", "storage-far"
INTERNET_ADDRESS = "203.0.113.1/24"
SERVERS = ("198.51.100.1", "198.51.100.2")
# Stands in for the appliance's management network: it answers whoever gets through to it.
MANAGEMENT = "192.0.2.1"


class NoLease(Exception):
    """No DHCP server gave the machine an address in time; the text is the client's log."""


def far_end(port: str) -> str:
    """The other end of the cable in a trunk port of the appliance."""
    return f"{port}-far"


@dataclass(frozen=True, slots=True)
class Lease:
    """What a DHCP server gave a machine. `seconds` is the lease time."""

    address: str
    prefix_length: int
    router: str
    dns_servers: tuple[str, ...]
    mtu: int
    hostname: str
    domain: str
    search: str
    seconds: int
    server: str


class Machine(Host):
    """A customer's machine: one interface, an address only from DHCP, no IPv6."""

    lease: Lease | None = None

    @property
    def mac(self) -> str:
        """Ethernet address of its interface."""
        return str(self.intf(INTERFACE).MAC())

    @property
    def address(self) -> str:
        """Its leased address. Raises NoLease without one."""
        if self.lease is None:
            raise NoLease(f"{self.name} has no lease")
        return self.lease.address

    def configure(self) -> None:
        """Prepare the interface once it is linked.

        Checksums are computed by the machine itself: the userspace datapath
        passes packets on as they are, and TCP with half a checksum is dropped.
        """
        self.run(
            "sh",
            "-ec",
            "for conf in all default; do echo 1 >/proc/sys/net/ipv6/conf/$conf/disable_ipv6; done 2>/dev/null; "
            f"ethtool -K {INTERFACE} tx off >/dev/null; ip link set lo up; ip link set {INTERFACE} up",
        )

    def run(self, *command: str, seconds: float = 60) -> str:
        """Run a command in the machine and return its output. Raises CalledProcessError, TimeoutExpired."""
        return run(["mnexec", "-a", str(self.pid), *command], seconds)

    def start(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command in the machine; `options` are those of Popen. The caller ends it."""
        return subprocess.Popen(["mnexec", "-a", str(self.pid), *command], **options)

    def obtain_lease(self, seconds: float = 10.0) -> Lease:
        """Get an address by DHCP, at most within `seconds`. Raises NoLease."""
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "lease"
            client = subprocess.run(
                [
                    *("mnexec", "-a", str(self.pid)),
                    *("udhcpc", "-f", "-q", "-n", "-i", INTERFACE, "-s", str(DHCP_SCRIPT)),
                    *("-T", "1", "-t", str(max(1, round(seconds)))),
                    *("-O", "mtu", "-O", "search", "-x", f"hostname:{self.name}"),
                ],
                env={**os.environ, "LEASE": str(file)},
                capture_output=True,
                text=True,
                timeout=seconds + 30,
                check=False,
            )
            if client.returncode or not file.exists():
                self.lease = None
                raise NoLease(f"{self.name}: {client.stderr.strip()}")
            self.lease = read_lease(file.read_text())
        return self.lease


def read_lease(text: str) -> Lease:
    """The lease that `udhcpc-script` wrote as NAME=VALUE lines."""
    options = dict(line.split("=", 1) for line in text.splitlines())
    return Lease(
        address=options["ip"],
        prefix_length=int(options["mask"]),
        router=options["router"],
        dns_servers=tuple(options["dns"].split()),
        mtu=int(options["mtu"] or 0),
        hostname=options["hostname"],
        domain=options["domain"],
        search=options["search"],
        seconds=int(options["lease"] or 0),
        server=options["serverid"],
    )


class Internet(Machine):
    """The next hop of the gateway, and every server behind it; `gateway` is the appliance's address."""

    def __init__(self, name: str, gateway: str, **params: Any) -> None:
        super().__init__(name, **params)
        self.gateway = gateway

    def configure(self) -> None:
        """Give it its addresses, and a default route to the appliance: a neighbour who tries to get in."""
        super().configure()
        commands = [f"ip address add {address}/32 dev lo" for address in (*SERVERS, MANAGEMENT)]
        commands += [f"ip address add {INTERNET_ADDRESS} dev {INTERFACE}", f"ip route add default via {self.gateway}"]
        self.run("sh", "-ec", "; ".join(commands))


class StorageHost(Machine):
    """A host of the storage network: `address` is ADDRESS/LENGTH; it answers machines by the appliance's `router`."""

    def __init__(self, name: str, address: str, clients: str, router: str, **params: Any) -> None:
        super().__init__(name, **params)
        self.interface, self.clients, self.router = address, clients, router

    @property
    def address(self) -> str:
        """Its address on the storage network."""
        return self.interface.split("/")[0]

    def configure(self) -> None:
        """Give it its address and the way back to machines."""
        super().configure()
        self.run("ip", "address", "add", self.interface, "dev", INTERFACE)
        self.run("ip", "route", "add", self.clients, "via", self.router)


class ApplianceBridge(Switch):
    """The bridge the agent made, for Mininet to link machines to; Mininet neither makes nor removes it."""

    def __init__(self, name: str, appliance: RunningAppliance, **params: Any) -> None:
        super().__init__(name, dpid="1", **params)
        self.appliance = appliance

    def start(self, controllers: Sequence[object]) -> None:
        """Nothing to do: the agent made the bridge and set its controller."""

    def attach(self, port: str, *settings: str) -> None:
        """Make an interface a port of the bridge; `settings` as in `ovs-vsctl set port`."""
        command = ["--may-exist", "add-port", self.name, port]
        if settings:
            command += ["--", "set", "port", port, *settings]
        self.appliance.vsctl(*command)

    def detach(self, port: str) -> None:
        """Take a port off the bridge."""
        self.appliance.vsctl("--if-exists", "del-port", self.name, port)


class Site:
    """The machines around one appliance: hosts, the Internet, a rack switch and a hypervisor."""

    def __init__(self, appliance: RunningAppliance) -> None:
        self.appliance = appliance
        for setting in ("all", "default"):
            Path(f"/proc/sys/net/ipv6/conf/{setting}/disable_ipv6").write_text("1")
        # Mininet warns when it may not raise limits of the whole host; a sandbox does not need them.
        setLogLevel("error")
        self.net = Mininet(controller=None, build=False)
        self.bridge: ApplianceBridge = self.net.addSwitch(BRIDGE, cls=ApplianceBridge, appliance=appliance)
        self._numbers = iter(range(1, 1 << 16))
        self.machines: dict[str, Machine] = {}

    def add_internet(self) -> Internet:
        """Link the Internet to the gateway port."""
        settings = self.appliance.settings
        gateway = settings.gateway_address.split("/")[0]
        host: Internet = self.net.addHost("internet", cls=Internet, gateway=gateway)
        self._link(host, self.bridge, settings.gateway_port, "02:00:00:00:fe:01")
        return host

    def add_storage(self) -> ApplianceBridge:
        """The switch of the storage network, linked to the storage port; made at the first call."""
        return self._switch_behind(self.appliance.settings.storage_port, STORAGE_CABLE, STORAGE_NETWORK)

    def add_storage_host(self, name: str, address: str, mac: str | None = None) -> StorageHost:
        """A host with `address` (without length) on the storage network."""
        settings = self.appliance.settings
        router, _, length = settings.storage_address.partition("/")
        host: StorageHost = self.net.addHost(
            name, cls=StorageHost, address=f"{address}/{length}", clients=settings.clients, router=router
        )
        number = next(self._numbers)
        self._link(host, self.add_storage(), name, mac or f"02:00:00:00:fc:{number & 255:02x}")
        self.machines[name] = host
        return host

    def add_machine(
        self, name: str, *, mac: str | None = None, vlan: int | None = None, vni: int | None = None
    ) -> Machine:
        """A machine on a port named like it, on a VLAN of the trunk port or on a VNI of the tunnel port.

        It has no address yet. Give each a name of its own, at most 15
        characters, and at most one machine to a VNI; `mac` defaults to a new
        locally administered one.
        """
        host: Machine = self.net.addHost(name, cls=Machine)
        number = next(self._numbers)
        mac = mac or f"02:00:00:01:{number >> 8:02x}:{number & 255:02x}"
        if vni is not None:
            self._tunnel(host, mac, vni)
        elif vlan is not None:
            self._link(host, self._rack(), name, mac, f"tag={vlan}")
        else:
            self._link(host, self.bridge, name, mac)
        self.machines[name] = host
        return host

    def add_cross_connect(self, port: str) -> ApplianceBridge:
        """The metro Ethernet behind `port`, a trunk of the appliance: a switch of somebody else's; made at first."""
        return self._switch_behind(port, far_end(port), f"metro-{port}")

    def join(self, host: Machine, interface: str, switch: ApplianceBridge, port: str, vlan: int | None) -> None:
        """Give a host one more interface, on an access port of `switch` (`vlan` None: what is untagged there)."""
        self.net.addLink(host, switch, cls=Link, intfName1=interface, intfName2=port)
        switch.attach(port, *([] if vlan is None else [f"tag={vlan}"]))
        host.run("sh", "-ec", f"ethtool -K {interface} tx off >/dev/null; ip link set {interface} up")

    def part(self, host: Machine, switch: ApplianceBridge) -> None:
        """Take a host off a switch."""
        for link in self.net.linksBetween(host, switch):
            switch.detach(link.intf2.name)
            self.net.delLink(link)

    def remove_machine(self, name: str) -> None:
        """Take a machine and its port away."""
        host = self.machines.pop(name)
        for switch in self.net.switches:
            self.part(host, switch)
        self.net.delHost(host)

    def stop(self) -> None:
        """End every host."""
        for name in list(self.machines):
            self.remove_machine(name)
        self.net.stop()

    def _link(self, host: Machine, switch: ApplianceBridge, port: str, mac: str, *settings: str) -> None:
        self.net.addLink(host, switch, cls=Link, intfName1=INTERFACE, intfName2=port, addr1=mac)
        switch.attach(port, *settings)
        host.configure()

    def _rack(self) -> ApplianceBridge:
        """The rack switch: another bridge, whose access ports reach the appliance tagged."""
        return self._switch_behind(TRUNK, f"{TRUNK}-rack", RACK)

    def _switch_behind(self, port: str, far: str, name: str) -> ApplianceBridge:
        """Another switch, over one cable from `port` of the appliance to `far` of the switch."""
        if name not in self.net:
            switch = self._add_bridge(name)
            run(["ip", "link", "add", port, "type", "veth", "peer", "name", far])
            for end, bridge in ((port, self.bridge), (far, switch)):
                run(["ethtool", "-K", end, "tx", "off", "txvlan", "off"])
                run(["ip", "link", "set", end, "up"])
                bridge.attach(end)
        found: ApplianceBridge = self.net.get(name)
        return found

    def _hypervisor(self) -> Machine:
        """Another host: machines on it reach the appliance through VXLAN (RFC 7348), over an underlay network."""
        if HYPERVISOR not in self.net:
            underlay = self._add_bridge(UNDERLAY)
            run(["ip", "address", "add", f"{UNDERLAY_APPLIANCE}/24", "dev", UNDERLAY])
            run(["ip", "link", "set", UNDERLAY, "up"])
            host: Machine = self.net.addHost(HYPERVISOR, cls=Machine)
            self._link(host, underlay, HYPERVISOR, "02:00:00:00:fd:01")
            host.run("ip", "address", "add", f"{UNDERLAY_HYPERVISOR}/24", "dev", INTERFACE)
            tunnel = ["type=vxlan", "options:key=flow", f"options:remote_ip={UNDERLAY_HYPERVISOR}"]
            self.appliance.vsctl("add-port", BRIDGE, TUNNEL, "--", "set", "interface", TUNNEL, *tunnel)
        found: Machine = self.net.get(HYPERVISOR)
        return found

    def _add_bridge(self, name: str) -> ApplianceBridge:
        """A learning switch beside the appliance's own bridge."""
        self.appliance.vsctl("add-br", name, "--", "set", "bridge", name, f"datapath_type={self.appliance.datapath}")
        made: ApplianceBridge = self.net.addSwitch(name, cls=ApplianceBridge, appliance=self.appliance)
        return made

    def _tunnel(self, host: Machine, mac: str, vni: int) -> None:
        """Give a machine a VXLAN device of the hypervisor as its interface."""
        device = f"vx{host.pid}"
        options = ["type", "vxlan", "id", str(vni), "remote", UNDERLAY_APPLIANCE, "dstport", "4789"]
        hypervisor = self._hypervisor()
        hypervisor.run("ip", "link", "add", device, "address", mac, *options)
        hypervisor.run("ip", "link", "set", device, "netns", str(host.pid))
        host.run("ip", "link", "set", device, "name", INTERFACE)
        Intf(INTERFACE, node=host, mac=mac, moveIntfFn=lambda *_: None)
        host.configure()
