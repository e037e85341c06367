"""Two tenants with the same prefix, joined by VPNs to sites that have the same prefix too."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from corporate import CorporateSite, Peering
from gateway_watch import LeakWatch, watched
from machines import Machine, StorageHost
from sandbox import Sandbox, Wanted
from sandboxes import Tenants, network_id
from vpn_gateway import Vpn, VpnGateway

from state.vpn import namespace

PREFIX, SITE_PREFIX = "10.9.0.0/16", "192.168.50.0/24"
SECRET = "a pre-shared key for tests, long enough"
DRIVES = {"files": "10.250.0.10", "till": "10.250.0.11"}
# What may be between a gateway and its peer: IKE, and ESP in UDP or bare.
SEALED = "(udp port 500 or udp port 4500 or ip proto 50)"


@dataclass(frozen=True)
class Tenancy:
    """A network with two machines, a drive, and a VPN gateway whose connection `site.name` leads to `site`."""

    network: str
    key: int
    machines: list[Machine]
    drive: StorageHost
    gateway: VpnGateway
    site: CorporateSite

    @property
    def peering(self) -> Peering:
        """How the site speaks with the gateway."""
        return peering_of(self.gateway, self.site)


@dataclass(frozen=True)
class World:
    """Both, and a machine alone."""

    one: Tenancy
    two: Tenancy
    alone: Machine
    vpn: Vpn

    @property
    def both(self) -> tuple[Tenancy, Tenancy]:
        return self.one, self.two


def peering_of(gateway: VpnGateway, site: CorporateSite) -> Peering:
    """How a site speaks with a gateway of a network with `PREFIX`."""
    return Peering(gateway.address, SECRET, [site.prefix], [PREFIX, "10.250.0.0/24"])


@pytest.fixture(scope="module")
def vpn_world(sandbox: Sandbox) -> Iterator[World]:
    """Made once for a module of tests; both connections are established."""
    with ExitStack() as stack:
        maker = Tenants(sandbox)
        stack.callback(maker.close)
        vpn = Vpn(sandbox)
        tenancies = []
        for number, (name, address) in enumerate(DRIVES.items()):
            host = sandbox.add_storage_host(name, address)
            stack.callback(sandbox.unplug, name)
            made = maker.network(PREFIX, tenant=name)
            network = network_id(made)
            machines = maker.machines([Wanted("", network), Wanted("", network)])
            sandbox.create_drive(name, network, address)
            stack.callback(sandbox.delete_drive, name)
            site = CorporateSite(sandbox, f"hq{number}", SITE_PREFIX, number)
            stack.callback(site.close)
            gateway = vpn.create_gateway(f"{name}-gw", network)
            stack.callback(vpn.delete_gateway, f"{name}-gw")
            site.start()
            site.connect(site.name, peering_of(gateway, site))
            vpn.connect(site.name, f"{name}-gw", [SITE_PREFIX], peer=site.address, pre_shared_key=SECRET)
            stack.callback(vpn.disconnect, site.name)
            tenancies.append(Tenancy(network, made.key, machines, host, gateway, site))
        for tenancy in tenancies:
            vpn.seconds_until_established(tenancy.site.name)
        yield World(*tenancies, maker.isolated(), vpn)


@contextmanager
def only_sealed(sandbox: Sandbox, gateway: str = "") -> Iterator[LeakWatch]:
    """Fails when a packet with an address of a tenant or its site is outside, or one from `gateway` that is not sealed.

    What hosts outside say to a gateway is theirs: a router may answer that nobody listens for what is sealed.
    """
    inner = f"net {PREFIX} or net {SITE_PREFIX} or net 10.250.0.0/24 or net 100.64.0.0/10"
    clear = f" or (src host {gateway} and ip and not {SEALED})" if gateway else ""
    with watched(sandbox, f"(ip and ({inner})){clear}") as watch:
        yield watch
        watch.nothing()


def charon_of(key: int) -> int:
    """Process id of the IKE daemon of the gateway of network `key`. Raises LookupError."""
    done = subprocess.run(["ip", "netns", "pids", namespace(key)], capture_output=True, text=True, check=False)
    for pid in map(int, done.stdout.split()):
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "charon":
                return pid
    raise LookupError(f"no charon in {namespace(key)}")


def kill_charon(key: int, number: int = signal.SIGKILL) -> int:
    """End, or stop, the IKE daemon of the gateway of network `key`; its process id."""
    pid = charon_of(key)
    os.kill(pid, number)
    return pid
