#!/usr/bin/env python3
"""Interconnects: `sudo .venv/bin/python mininet/world.py -- .venv/bin/python bench/interconnect.py [--prefixes 10000]`.

A customer's router announces many prefixes at once: how long until the switch
has their flows, how many those are, what it needs in memory, how long a
withdrawal of all takes. Then how long pings every 10 ms get no answer when one
of two interconnects is lost silently (BFD), or its carrier, and when both are
and a VPN takes over. The same is done between two plain FRR routers in the same
run, to which Linux routes are what flows are here.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto"), str(ROOT / "mininet"), str(ROOT / "tests")]

from appliance import AGENT, BGP, CONTROLLER, DATABASE, SWITCH  # noqa: E402
from corporate import Peering  # noqa: E402
from crossconnect import CrossConnect  # noqa: E402
from customer import BgpRouter, CustomerRouter  # noqa: E402
from interconnect import Interconnects  # noqa: E402
from interconnect_world import Tenancy, leg_of, link_of, reaches  # noqa: E402
from machines import Machine  # noqa: E402
from pinging import pinging  # noqa: E402
from probes import ping  # noqa: E402
from sandbox import Sandbox, Wanted  # noqa: E402
from sandboxes import SETTINGS  # noqa: E402
from supervisor import await_condition  # noqa: E402
from vpn_gateway import Vpn  # noqa: E402

PREFIX, SITE, PLAIN_SITE, ACCEPT = "10.9.0.0/16", "192.168.250.0/24", "192.168.251.0/24", "192.168.0.0/16"
DRIVE = "10.250.0.10"
PASSWORD, SECRET = "an-MD5-password-for-the-bench", "a pre-shared key for the bench"
CUSTOMER_AS, OUR_AS, NAMES = 65001, 64512, ("one", "two")
LENGTH, LIMIT_SECONDS = 30, 60.0
FRR = ("bgpd", "zebra", "bfdd")


@dataclass(frozen=True, slots=True)
class Pair:
    """A customer's router with two links to whom it is measured with; `source` pings its PC."""

    customer: CustomerRouter
    source: Machine
    count: Callable[[], int]
    """How many prefixes the other side has learned besides that of the site."""
    whole: Callable[[], bool]
    """Whether both sessions are up again and watched by BFD, and traffic goes by the better one."""
    renew: Callable[[], None]
    """Has what was held against a peer that flaps forgotten, where anything is."""


def memory(pid: int) -> float:
    """Memory of a process in MiB, what it shares with others counted in parts (proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


def until(cause: Callable[[], None], condition: Callable[[], bool], what: str) -> float:
    """How many seconds it takes from the beginning of what causes a condition until it holds."""
    began = time.monotonic()
    cause()
    await_condition(condition, what, LIMIT_SECONDS, 0.02)
    return time.monotonic() - began


def many(count: int) -> list[str]:
    """Prefixes of LENGTH within ACCEPT."""
    return [f"192.168.{number >> 6}.{(number & 63) << 2}/{LENGTH}" for number in range(count)]


def announced_and_withdrawn(pair: Pair, prefixes: Sequence[str], between: Callable[[], object]) -> tuple[float, float]:
    """Seconds from the announcement of prefixes until all are routes on the other side, and from their withdrawal."""
    customer = pair.customer
    customer.hold_back(ACCEPT, LENGTH)
    customer.announce(*prefixes)
    assert pair.count() == 0
    gained = until(
        lambda: customer.hold_back(ACCEPT, LENGTH, held=False), lambda: pair.count() >= len(prefixes), "routes there"
    )
    between()
    lost = until(lambda: customer.hold_back(ACCEPT, LENGTH), lambda: pair.count() == 0, "routes gone")
    customer.withdraw(*prefixes)
    customer.hold_back(ACCEPT, LENGTH, held=False)
    return gained, lost


def by_one(pair: Pair, prefixes: Sequence[str], rounds: int) -> list[tuple[float, float]]:
    """The same with one link, the other being shut."""
    found = []
    for _ in range(rounds):
        pair.renew()
        pair.customer.shut("link2")
        await_condition(lambda: pair.customer.established("link1"), "one link", LIMIT_SECONDS)
        found.append(announced_and_withdrawn(pair, prefixes, lambda: None))
        pair.customer.shut("link2", shut=False)
        await_condition(pair.whole, "whole again", LIMIT_SECONDS)
    return found


def compared(ours: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]) -> None:
    """Lines of the table for announcements and withdrawals."""
    for what, place in (("from announcement to flows, or routes", 0), ("from withdrawal to none", 1)):
        times = [one[place] for one in ours]
        ratio(what, statistics.median(times), statistics.median(one[place] for one in others))
        print(f"    ours {min(times):.2f} to {max(times):.2f} s in {len(times)} rounds")


def gaps(pair: Pair, lose: Callable[[], AbstractContextManager[None]], rounds: int, seconds: float = 2.0) -> float:
    """Median of the longest time without an answer when a link is lost, in seconds."""
    found = []
    for _ in range(rounds):
        pair.renew()
        await_condition(pair.whole, "whole again", LIMIT_SECONDS)
        with pinging(pair.source, pair.customer.site.pc_address) as going, lose():
            time.sleep(seconds)
        found.append(going()[1])
    return statistics.median(found)


def ours(sandbox: Sandbox, ports: Sequence[CrossConnect]) -> tuple[Pair, Tenancy]:
    """A network with two interconnects to a customer's site, and a VPN."""
    network = sandbox.create_network("office", prefix=PREFIX)
    machine, drive = sandbox.create_machine(Wanted("pc", "office")), sandbox.add_storage_host("files", DRIVE)
    sandbox.create_drive("files", "office", DRIVE)
    customer = CustomerRouter(sandbox, "hq", SITE, 0, CUSTOMER_AS, PASSWORD)
    calls = Interconnects(sandbox)
    links = {}
    for number, (name, port) in enumerate(zip(NAMES, ports, strict=True), 1):
        links[name] = customer.join(port, f"link{number}", 100 + number, f"169.254.{100 + number}.0/30")
    customer.start(SITE)
    customer.favor("link1")

    def make() -> None:
        for number, name in enumerate(NAMES):
            calls.create(
                name, network="office", **links[name].fields(CUSTOMER_AS), password=PASSWORD, accept_prefixes=[ACCEPT],
                maximum_prefixes=20000, preference=200 - number,
            )  # fmt: skip

    def renew() -> None:
        for name in NAMES:
            calls.delete(name)
        make()

    make()
    vpn = Vpn(sandbox)
    gateway = vpn.create_gateway("backup", "office")
    customer.site.start()
    customer.site.connect("hq", Peering(gateway.address, SECRET, [SITE], [PREFIX]))
    vpn.connect("hq", "backup", [SITE], peer=customer.site.address, pre_shared_key=SECRET, local_prefixes=[PREFIX])
    vpn.seconds_until_established("hq")
    calls.seconds_until_established(*NAMES)
    tenancy = Tenancy("office", network.key, [machine], drive, customer, links)

    def count() -> int:
        said = sandbox.appliance.ofctl("dump-aggregate", f"table=remote-route,metadata={network.key:#x}")
        # One is for the site itself, and one refuses what was not learned.
        return int(said.rpartition("flow_count=")[2]) - 2

    def whole() -> bool:
        return all(map(calls.watched, NAMES)) and link_of(tenancy) == "one"

    await_condition(whole, "both interconnects in use", LIMIT_SECONDS)
    return Pair(customer, machine, count, whole, renew), tenancy


def plain(sandbox: Sandbox, ports: Sequence[CrossConnect]) -> Pair:
    """Two FRR routers with the same two links, without Sluice."""
    router: Machine = sandbox.site.net.addHost("plain", cls=Machine)
    other = BgpRouter(router, OUR_AS, PASSWORD, peer_as=CUSTOMER_AS)
    customer = CustomerRouter(sandbox, "hq-plain", PLAIN_SITE, 1, CUSTOMER_AS, PASSWORD)
    for number, port in enumerate(ports, 1):
        link = f"169.254.{110 + number}.0/30"
        customer.join(port, f"link{number}", 110 + number, link)
        other.join(port, f"link{number}", 110 + number, link, first=True)
    router.run("ip", "link", "set", "lo", "up")
    router.run("ip", "address", "add", "10.10.0.2/32", "dev", "lo")
    customer.start(PLAIN_SITE)
    other.start("10.10.0.0/16")
    for one in (customer, other):
        one.favor("link1")

    def count() -> int:
        # One is for the site itself.
        return int(router.run("sh", "-c", "ip -o route show proto bgp | wc -l")) - 1

    def whole() -> bool:
        up = all(customer.established(link) and customer.watched(link) for link in ("link1", "link2"))
        return up and "dev link1" in router.run("ip", "route", "show", "match", customer.site.pc_address)

    await_condition(whole, "both plain links in use", LIMIT_SECONDS)
    assert ping(router.pid, [customer.site.pc_address])
    return Pair(customer, router, count, whole, lambda: None)


@contextmanager
def severed(pair: Pair, *interfaces: str) -> Iterator[None]:
    """Links of a pair lose everything silently."""
    with ExitStack() as stack:
        for interface in interfaces:
            stack.enter_context(
                pair.customer.connections[interface].cross_connect.severed(pair.customer.router, interface)
            )
        yield


def needed(sandbox: Sandbox, tenancy: Tenancy) -> dict[str, float]:
    """Memory of processes in MiB."""
    pids = {name: sandbox.appliance.daemon(name).pid or 0 for name in (SWITCH, CONTROLLER, BGP, AGENT, DATABASE)}
    daemons = leg_of(tenancy, "one").daemons
    pids |= {f"{program} of an interconnect": daemons[program] for program in FRR}
    return {name: memory(pid) for name, pid in pids.items()}


def flows(sandbox: Sandbox) -> int:
    """How many flows the switch has."""
    return int(sandbox.appliance.ofctl("dump-aggregate").rpartition("flow_count=")[2])


def ratio(what: str, own: float, other: float, unit: str = "s") -> None:
    """A line of the table."""
    print(f"  {what:44} {own:8.2f} {unit}   plain FRR {other:8.2f} {unit}   {own / other:5.2f} times")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefixes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sandbox = Sandbox(SETTINGS)
    try:
        sandbox.start()
        ports = [CrossConnect(sandbox, port) for port in ("xc1", "xc2")]
        pair, tenancy = ours(sandbox, ports)
        other = plain(sandbox, ports)
        prefixes = many(options.prefixes)
        flows_before, before = flows(sandbox), needed(sandbox, tenancy)
        after: dict[str, float] = {}
        counted: list[int] = []

        def look() -> None:
            counted.append(flows(sandbox))
            after.update(needed(sandbox, tenancy))
            began = time.monotonic()
            calls = Interconnects(sandbox)
            await_condition(lambda: calls.session("one").accepted_prefixes >= len(prefixes), "the API says so", 30)
            assert sum(1 for _ in calls.routes("one")) >= len(prefixes)
            print(f"  all routes read by the API in                {time.monotonic() - began:8.2f} s")

        print(f"{len(prefixes)} prefixes by one interconnect")
        compared(*(by_one(measured, prefixes, options.rounds) for measured in (pair, other)))
        print(f"{len(prefixes)} prefixes by each of two interconnects")
        own, plainly = [], []
        for number in range(options.rounds):
            own.append(announced_and_withdrawn(pair, prefixes, look if number == 0 else lambda: None))
            plainly.append(announced_and_withdrawn(other, prefixes, lambda: None))
            pair.renew()
            await_condition(pair.whole, "whole again", LIMIT_SECONDS)
        compared(own, plainly)
        print(f"  flows a prefix                               {(counted[0] - flows_before) / len(prefixes):8.2f}")
        for name, value in after.items():
            print(f"  memory of {name:34} {value:8.1f} MiB, {value - before[name]:+.1f}")
        await_condition(lambda: reaches(tenancy), "reached again", LIMIT_SECONDS)
        print(f"Longest gap of pings every 10 ms, median of {options.rounds}")
        ratio(
            "BFD, to the other interconnect",
            gaps(pair, lambda: severed(pair, "link1"), options.rounds),
            gaps(other, lambda: severed(other, "link1"), options.rounds),
        )
        carrier = gaps(pair, ports[0].unplugged, options.rounds)
        print(f"  carrier, to the other interconnect           {carrier:8.2f} s")
        tunnel = gaps(pair, lambda: severed(pair, "link1", "link2"), options.rounds, 3.0)
        print(f"  BFD, to the VPN                              {tunnel:8.2f} s")
    finally:
        sandbox.stop()


if __name__ == "__main__":
    main()
