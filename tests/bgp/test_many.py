"""Many prefixes and idle sessions: what they cost the daemon, FRR and the database."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bgp_lab import LAN, PEER_AS, Lab, pids
from supervisor import await_condition

MANY = [f"172.{16 + at // 65536}.{at // 256 % 256}.{at % 256}/32" for at in range(10_000)]
_TICK = os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Memory of a process by itself in MB (PSS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) // 1024


def cpu(pid: int) -> float:
    """Seconds of CPU time a process used until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def test_ten_thousand_prefixes(lab: Lab) -> None:
    number, peer = lab.pair(LAN, fields={"maximum_prefixes": 20000})
    other, _ = lab.pair(LAN)
    assert lab.daemon is not None
    before = memory(lab.daemon.pid), memory(pids(number)["bgpd"])
    began, used = time.monotonic(), cpu(lab.daemon.pid)
    peer.frr.announce(PEER_AS, *MANY)
    told = time.monotonic()
    await_condition(lambda: lab.session(number).accepted == len(MANY) + 1, "all learned", 15, 0.05)
    await_condition(lambda: len(lab.accepted(number)) == len(MANY) + 1, "all written", 5, 0.05)
    learned = time.monotonic()
    after = memory(lab.daemon.pid), memory(pids(number)["bgpd"])
    print(f"\n10,000 prefixes: {learned - told:.2f} s after the peer was told ({told - began:.2f} s), "
          f"{cpu(lab.daemon.pid) - used:.2f} s CPU of the daemon; daemon {before[0]} -> {after[0]} MB, "
          f"bgpd {before[1]} -> {after[1]} MB")  # fmt: skip
    assert learned - told < 5
    # One more costs one row of 64, soon.
    peer.frr.announce(PEER_AS, "172.31.0.0/24")
    await_condition(lambda: "172.31.0.0/24" in lab.routes(number), "one more", 5, 0.05)
    print(f"one more: {time.monotonic() - learned:.2f} s")
    lost = time.monotonic()
    peer.frr.kill("bgpd")
    lab.await_state(number, "down", 2)
    lab.await_routes(number, set(), 5)
    print(f"all withdrawn: {time.monotonic() - lost:.2f} s")
    assert (lab.session(other).flaps, lab.accepted(other)) == (0, {LAN})


def test_an_idle_session_costs_little(lab: Lab) -> None:
    numbers = lab.many(4)
    assert lab.daemon is not None
    for number in numbers:
        lab.await_status(number, lambda one: one.session.bfd.value == "up", "BFD up", 5)
    found = {f"daemon of {len(numbers)}": lab.daemon.pid, **pids(numbers[0])}
    before, began = {name: cpu(pid) for name, pid in found.items()}, time.monotonic()
    writes = len(lab.order)
    time.sleep(2)
    took = time.monotonic() - began
    shares = {name: 100 * (cpu(pid) - before[name]) / took for name, pid in found.items()}
    print("\nidle:", ", ".join(f"{name} {share:.1f} % CPU, {memory(found[name])} MB" for name, share in shares.items()))
    assert shares[f"daemon of {len(numbers)}"] < 15
    assert len(lab.order) == writes
