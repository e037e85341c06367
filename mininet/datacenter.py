#!/usr/bin/env python3
"""The sandbox of `make run`: eight machines of two customers, and all that joins them to the world.

A public address, a drive, VPNs, Direct Connects, a peering, and the Internet.

Allocates everything over the API, lets every machine get its address by DHCP,
compares who reaches whom with who should, each customer's own sites beyond its
VPN and its Direct Connect included, and tries names, the public address and the drive. On a terminal
it then stays until Ctrl-C; without one it ends, with status 0 only when
everything was as expected.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from types import FrameType
from typing import NoReturn

import grpc
import showcase
from appliance import CommandError
from corporate import CorporateSite, Peering
from crossconnect import CrossConnect
from customer import CustomerRouter, PeeringNetwork
from fileserver import FileServer
from grid import terminal
from interconnect import Interconnects
from machines import NoLease
from reachability import Matrix, Remote, expect, observe
from sandbox import NotLive, Sandbox, Wanted, obtain_leases
from settings import BRIDGE
from showcase import Shown
from supervisor import DaemonError
from vpn_gateway import Vpn

SHARED = Path("/run/sluice-lab")
OFFICE_PREFIX = "10.0.0.0/16"
PUBLIC, PUBLIC_ADDRESS, FREE_ADDRESS = "ada-www", "203.0.113.96", "203.0.113.97"
DRIVE, FILES, FILES_ADDRESS = "ada-files", "files", "10.250.0.10"
HEADQUARTERS_PREFIX, PLANT_PREFIX = "192.168.50.0/24", "192.168.60.0/24"
PEER, PEER_PREFIX, PEER_AS = "peer", "45.80.0.0/24", 65100
CROSS_CONNECT, LINK, PEER_LINK, PEER_VLAN = "xc1", "169.254.101.0/30", "169.254.103.0/30", 300


@dataclass(frozen=True, slots=True)
class Office:
    """A private network to make; a VPN joins the customer's `headquarters` to it, and a Direct Connect its `plant`.

    `vlan` is that of the Direct Connect, `asn` the customer's AS.
    """

    name: str
    tenant: str
    headquarters: str
    plant: str
    vlan: int
    asn: int


# Two customers, ada and bob, with the same prefix, hence the same machine addresses, in both offices, and with
# the same prefixes again at their own sites, and the same addresses on the links to these.
OFFICES = (
    Office("ada-office", "ada", "ada-hq", "ada-plant", 101, 65001),
    Office("bob-office", "bob", "bob-hq", "bob-plant", 201, 65002),
)
MACHINES = (
    Wanted("ada-web", tenant="ada"),
    Wanted("ada-mail", tenant="ada"),
    Wanted("bob-web", tenant="bob"),
    Wanted("ada-pc1", "ada-office", "ada"),
    Wanted("ada-pc2", "ada-office", "ada"),
    Wanted("ada-db", "ada-office", "ada", hostname="db1"),
    Wanted("bob-db", "bob-office", "bob", hostname="db1"),
    Wanted("bob-pc2", "bob-office", "bob", vlan=42),
)


class Progress:
    """Says on standard output what is being done, and how long it took."""

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """One step: printed when it begins, timed when it ends."""
        print(f"{text} ...", end="", flush=True)
        began = time.monotonic()
        try:
            yield
        except BaseException:
            print(" failed", flush=True)
            raise
        print(f" {time.monotonic() - began:.1f} s", flush=True)


def build(sandbox: Sandbox, progress: Progress) -> None:
    """Make everything above. Raises DaemonError, grpc.RpcError, NotLive, NoLease."""
    with progress.step("Starting Open vSwitch, database, controller, agent and resolver"):
        sandbox.start()
    for office in OFFICES:
        with progress.step(f"Creating the private network {office.name} {OFFICE_PREFIX} of {office.tenant}"):
            sandbox.create_network(office.name, tenant=office.tenant, prefix=OFFICE_PREFIX)
    with progress.step(f"Creating {len(MACHINES)} machines in one batch, waiting until they are live"):
        hosts = sandbox.create_machines(MACHINES, lease=False)
    with progress.step("Addresses by DHCP"):
        obtain_leases(hosts)
    for wanted, host in zip(MACHINES, hosts, strict=True):
        where = f"VLAN {wanted.vlan} of the trunk port" if wanted.vlan else f"port {wanted.name}"
        lease = host.obtain_lease() if host.lease is None else host.lease
        print(
            f"    {wanted.name:9} {lease.address + '/' + str(lease.prefix_length):15} router {lease.router:12}"
            f" mtu {lease.mtu}  {wanted.network or 'isolated':11} {where}"
        )
    with progress.step(f"Giving ada-web the public address {PUBLIC_ADDRESS}, and ada-office the drive {FILES_ADDRESS}"):
        sandbox.create_public_address(PUBLIC, machine="ada-web", address=PUBLIC_ADDRESS)
        sandbox.add_storage_host(FILES, FILES_ADDRESS)
        sandbox.create_drive(DRIVE, "ada-office", FILES_ADDRESS)
    for number, office in enumerate(OFFICES):
        with progress.step(f"Joining {office.headquarters} {HEADQUARTERS_PREFIX} to {office.name} by a VPN"):
            join(sandbox, office, number)
    metro = CrossConnect(sandbox, CROSS_CONNECT)
    for number, office in enumerate(OFFICES, len(OFFICES)):
        with progress.step(f"Joining {office.plant} {PLANT_PREFIX} to {office.name} by a Direct Connect"):
            cross_connect(sandbox, metro, office, number)
    with progress.step(f"Peering with AS {PEER_AS}, {PEER_PREFIX}"):
        peer_with(sandbox, metro, 2 * len(OFFICES))
    with progress.step("BGP sessions"):
        Interconnects(sandbox).seconds_until_established(PEER, *(office.plant for office in OFFICES))


def join(sandbox: Sandbox, office: Office, number: int) -> CorporateSite:
    """A customer's own site and the VPN between it and its office. Raises grpc.RpcError, NotLive, TimeoutError."""
    vpn, name, secret = Vpn(sandbox), office.headquarters, secrets.token_urlsafe()
    site = CorporateSite(sandbox, name, HEADQUARTERS_PREFIX, number)
    gateway = vpn.create_gateway(f"{office.tenant}-vpn", office.name)
    connection = vpn.connect(name, f"{office.tenant}-vpn", [site.prefix], peer=site.address, pre_shared_key=secret)
    site.start()
    site.connect(name, Peering(gateway.address, secret, [site.prefix], connection.local_prefixes))
    vpn.seconds_until_established(name)
    return site


def cross_connect(sandbox: Sandbox, metro: CrossConnect, office: Office, number: int) -> None:
    """Another site of a customer and the Direct Connect between it and its office. Raises grpc.RpcError, NotLive."""
    password = secrets.token_urlsafe()
    customer = CustomerRouter(sandbox, office.plant, PLANT_PREFIX, number, office.asn, password)
    link = customer.join(metro, "link1", office.vlan, LINK)
    customer.start(PLANT_PREFIX)
    Interconnects(sandbox).create(
        office.plant, network=office.name, accept_prefixes=[PLANT_PREFIX], password=password, **link.fields(office.asn)
    )


def peer_with(sandbox: Sandbox, metro: CrossConnect, number: int) -> None:
    """Another network of the Internet, and a peering with it. Raises grpc.RpcError, NotLive."""
    password = secrets.token_urlsafe()
    peer = PeeringNetwork(sandbox, PEER, PEER_PREFIX, number, PEER_AS, password)
    link = peer.join(metro, "link1", PEER_VLAN, PEER_LINK)
    peer.start(PEER_PREFIX)
    Interconnects(sandbox).create(PEER, password=password, **link.fields(PEER_AS))


def remote() -> list[Remote]:
    """What offices reach beyond their prefix, and the host of the peer."""
    headquarters, plant, peer = (str(IPv4Network(p)[10]) for p in (HEADQUARTERS_PREFIX, PLANT_PREFIX, PEER_PREFIX))
    return [
        *(Remote(office.headquarters, office.name, headquarters, asks=True, tunnel=True) for office in OFFICES),
        *(Remote(office.plant, office.name, plant, asks=True) for office in OFFICES),
        Remote(FILES, "ada-office", FILES_ADDRESS),
        Remote(PEER, "", peer, asks=True),
    ]


def check(sandbox: Sandbox, progress: Progress) -> bool:
    """Print the matrix and what was dropped; whether all was as expected."""
    with progress.step("Trying every way between them"):
        expected = expect(sandbox, MACHINES, remote())
        seen = observe(sandbox, MACHINES, remote())
    matrix = Matrix(expected, seen)
    print()
    screen = terminal(sys.stdout)
    screen.print(matrix.table(screen.width), soft_wrap=True)
    print()
    print("The Internet sees each machine as an address and port of its network's block, or as its public address:")
    for line in matrix.translations():
        print(f"    {line}")
    print()
    with progress.step("Trying the public address, names and the drive"):
        shown = show(sandbox)
    for one in shown:
        print(one)
    print()
    print("Dropped, by network, and why:")
    names = network_names(sandbox)
    for drop in sandbox.all_drops():
        if drop.packets:
            who = names.get(drop.key, f"network {drop.key}")
            print(f"    {who:12} {drop.packets:5}  {drop.reason.word:16} {drop.reason.sentence}")
    print()
    print(matrix.verdict())
    right = sum(one.holds for one in shown)
    print(f"{right} of {len(shown)} answers about the public address, names and the drive are as expected.")
    return matrix.agrees and right == len(shown)


def show(sandbox: Sandbox) -> list[Shown]:
    """What machines get besides reachability."""
    found = [*showcase.public_address(sandbox, PUBLIC_ADDRESS, "ada-web", "bob-web", FREE_ADDRESS, PEER)]
    found += showcase.names(sandbox, "ada-pc1", "ada-db", "bob-pc2")
    found += showcase.names(sandbox, "bob-pc2", "bob-db", "ada-pc1")
    files = sandbox.site.machines[FILES]
    with FileServer(files) as server:
        owners = ["ada-pc1", "ada-db", "ada-hq", "ada-plant"]
        others = ["ada-web", "bob-db", "bob-hq", "bob-plant", PEER]
        found += showcase.drive(sandbox, server, FILES_ADDRESS, owners, others)
    return found


def network_names(sandbox: Sandbox) -> Mapping[int, str]:
    """Names by network key; key 0 is what belongs to none, above all what came from the Internet."""
    names = {office.name for office in OFFICES} | {wanted.name for wanted in MACHINES if not wanted.network}
    return {0: "(none)"} | {sandbox.network(name).key: name for name in names}


def look_further(stay: bool) -> str:
    """The commands to go on with, as they work in another shell."""
    begin = "To look further, from another shell" if stay else "On a terminal the sandbox stays, to look further with"
    binaries = Path(sys.executable).parent
    ofctl = "ovs-ofctl -O OpenFlow14 --names"
    return f"""{begin} (as root, in {Path(__file__).resolve().parent.parent}):
    export PATH={binaries}:$PATH SLUICE_API=unix:{SHARED}/api.sock OVS_RUNDIR={SHARED}
    sluicectl networks list            sluicectl machines list
    sluicectl flows ada-office         sluicectl drops
    {ofctl} dump-flows {BRIDGE}
    sluicectl vpn connections list     sluicectl vpn config ada-hq --for cisco-ios
    sluicectl interconnects list       sluicectl interconnects routes ada-plant
    mininet/on.py ada-pc1 dig +search db1
    mininet/on.py ada-pc1 ping -c 3 198.51.100.1       (on a machine; without a command: a shell)
Logs: {SHARED}/*.log
{"Ctrl-C ends it." if stay else ""}"""


def explain_failure(sandbox: Sandbox, error: Exception) -> str:
    """One error for a person."""
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        text = f"the API refused: {error.code().name}: {error.details()}"
    else:
        text = str(error)
    kept = Path("/tmp/sluice-lab-logs")
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    for log in sandbox.appliance.paths.run.glob("*.log"):
        shutil.copy(log, kept)
    deaths = {name: found for name, found in sandbox.appliance.deaths().items() if found}
    return f"{text}\n{f'Died: {deaths}. ' if deaths else ''}Logs were kept in {kept}."


def interrupt_on(*numbers: int) -> None:
    """Have these signals end the sandbox as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)


def main() -> int:
    """Run the sandbox; its exit status."""
    interrupt_on(signal.SIGTERM, signal.SIGHUP)
    stay = sys.stdin.isatty() and sys.stdout.isatty()
    sandbox = Sandbox()
    try:
        return _run(sandbox, stay)
    except KeyboardInterrupt:
        print("\nEnding the sandbox.", flush=True)
        return 0 if stay else 130
    except (DaemonError, NotLive, NoLease, CommandError, TimeoutError, grpc.RpcError) as error:
        print(f"\n{explain_failure(sandbox, error)}", file=sys.stderr)
        return 1
    finally:
        sandbox.stop()


def _run(sandbox: Sandbox, stay: bool) -> int:
    progress = Progress()
    build(sandbox, progress)
    agrees = check(sandbox, progress)
    print(f"\n{look_further(stay)}", flush=True)
    while stay:
        signal.pause()
    return 0 if agrees else 1


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
