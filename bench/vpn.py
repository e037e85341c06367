#!/usr/bin/env python3
"""VPN gateways: `sudo .venv/bin/python mininet/world.py -- .venv/bin/python bench/vpn.py [--gateways 50]`.

Many gateways on one appliance, each with a connection to one and the same site
router, one of them with a wrong pre-shared key: how long each takes, what it
needs in memory, and whether the wrong one disturbs the others. Then how long
things take to come back: the IKE daemon of a gateway killed, the site's killed
and started at once, and killed and started after it was called dead. Last a
transfer through one of them, beside one between two plain strongSwan routers in
the same run: both ends use the same userspace ESP, so the ratio is what Sluice's
legs, namespace and flows cost.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto"), str(ROOT / "mininet"), str(ROOT / "tests")]

from appliance import VPN  # noqa: E402
from corporate import CorporateSite, Peering  # noqa: E402
from machines import Machine  # noqa: E402
from probes import ask_udp  # noqa: E402
from sandbox import Sandbox, Wanted  # noqa: E402
from sandboxes import SETTINGS  # noqa: E402
from supervisor import await_condition  # noqa: E402
from throughput import Flow, Run  # noqa: E402
from vpn_gateway import Vpn  # noqa: E402
from vpn_world import charon_of, kill_charon  # noqa: E402

SECRET = "a pre-shared key for the bench"
WRONG = 1
PROPORTIONAL = "Pss:"


@dataclass(frozen=True, slots=True)
class Made:
    """A gateway and how long it took, in seconds: until it was live, and its connection established after that."""

    name: str
    key: int
    live: float
    established: float


def memory(pid: int) -> int:
    """Memory of a process in KiB, what it shares with others counted in parts (proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(PROPORTIONAL)).split()[1])


def timed(call: Callable[[], object]) -> float:
    """How many seconds a call takes."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


def make(sandbox: Sandbox, vpn: Vpn, site: CorporateSite, number: int) -> Made:
    """A network with a gateway and a connection to the site; that of number WRONG knows another secret."""
    name, prefix = f"net{number}", f"10.{number}.0.0/16"
    network = sandbox.create_network(name, prefix=prefix)
    live = timed(lambda: vpn.create_gateway(name, name))
    address = vpn.gateway(name).address
    secret = SECRET if number != WRONG else "something else entirely"
    site.connect(name, Peering(address, secret, [site.prefix], [prefix]))
    began = time.monotonic()
    vpn.connect(name, name, [site.prefix], peer=site.address, pre_shared_key=SECRET, local_prefixes=[prefix])
    if number != WRONG:
        vpn.seconds_until_established(name)
    return Made(name, network.key, live, time.monotonic() - began)


def spread(values: Sequence[float], unit: str) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3g} {unit} ({min(values):.3g} to {max(values):.3g})"


def carried(client: Machine, server: Machine, address: str, seconds: float) -> float:
    """Mbit/s by TCP."""
    return Run(client, server, address, Flow(seconds=seconds)).rate()


def reaches(machine: Machine, site: CorporateSite) -> bool:
    """Whether a machine reaches the site's PC now."""
    return site.pc_address in ask_udp(machine.pid, [site.pc_address], 0.2)


def until_reached(machine: Machine, site: CorporateSite) -> float:
    """How many seconds it takes from now until a machine reaches the site's PC."""
    return timed(lambda: await_condition(lambda: reaches(machine, site), "the site reached", 30))


def recovery(
    vpn: Vpn, made: Made, machine: Machine, site: CorporateSite, again: Callable[[], None]
) -> dict[str, float]:
    """Seconds until the network of `made` reaches the site again, by what happened; `again` configures the site."""
    seconds = {}
    kill_charon(made.key)
    seconds["after kill -9 of its IKE daemon"] = until_reached(machine, site)
    site.kill()
    site.start()
    again()
    seconds["after a restart of the peer at once"] = until_reached(machine, site)
    site.kill()
    seconds["until a dead peer is noticed"] = timed(
        lambda: await_condition(lambda: not vpn.established(made.name), "noticed", 30)
    )
    site.start()
    again()
    seconds["after the dead peer is back"] = until_reached(machine, site)
    return seconds


def plain_pair(sandbox: Sandbox) -> tuple[CorporateSite, CorporateSite]:
    """Two strongSwan routers joined by a tunnel, without Sluice."""
    one, other = (
        CorporateSite(sandbox, "left", "192.168.81.0/24", 1),
        CorporateSite(sandbox, "right", "192.168.82.0/24", 2),
    )
    for site, peer, start in ((one, other, "none"), (other, one, "start")):
        site.start()
        site.connect("plain", Peering(peer.address, SECRET, [site.prefix], [peer.prefix], start=start))
    await_condition(lambda: "plain" in one.established(), "the plain pair established", 10)
    return one, other


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateways", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    sandbox = Sandbox(replace(SETTINGS, public=("203.0.113.128/25",), nat=("203.0.113.64/28",), block_size=1024))
    try:
        sandbox.start()
        vpn, site = Vpn(sandbox), CorporateSite(sandbox, "site", "192.168.80.0/24", 0)
        site.start()
        made = [make(sandbox, vpn, site, number) for number in range(1, options.gateways + 1)]
        good = [one for one in made if one.name != f"net{WRONG}"]
        print(f"{len(made)} gateways, one of them with a wrong pre-shared key")
        print(f"  live after              {spread([one.live for one in made], 's')}")
        print(f"  established after       {spread([one.established for one in good], 's')}")
        print(f"  memory of an IKE daemon {spread([memory(charon_of(one.key)) / 1024 for one in made], 'MiB')}")
        daemon = sandbox.appliance.daemon(VPN).pid
        print(f"  memory of sluice-vpn    {memory(daemon or 0) / 1024:.1f} MiB")
        up = sum(vpn.established(one.name) for one in good)
        print(f"  established now         {up} of {len(good)}")
        print(f"  the wrong one           {vpn.connection(f'net{WRONG}').tunnel.last_error}")
        machine = sandbox.create_machine(Wanted("pc", good[-1].name))
        last = good[-1]
        prefix, address = f"10.{last.name.removeprefix('net')}.0.0/16", vpn.gateway(last.name).address
        peering = Peering(address, SECRET, [site.prefix], [prefix])
        rounds = [recovery(vpn, last, machine, site, lambda: site.connect(last.name, peering)) for _ in range(3)]
        for what in rounds[0]:
            print(f"  {what:39} {spread([one[what] for one in rounds], 's')}")
        left, right = plain_pair(sandbox)
        ratios = []
        for _ in range(3):
            ours = carried(machine, site.pc, site.pc_address, options.seconds)
            plain = carried(left.pc, right.pc, right.pc_address, options.seconds)
            ratios.append(ours / plain)
            print(f"  TCP {ours:6.1f} Mbit/s through a gateway, {plain:6.1f} between plain routers: {ours / plain:.2f}")
        print(f"  ratio {statistics.median(ratios):.2f}")
    finally:
        sandbox.stop()


if __name__ == "__main__":
    main()
