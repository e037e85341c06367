"""The VPN daemon with real charons at both ends: tunnels, changes, deaths, and what never leaves unsealed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from appliance import CommandError, run
from supervisor import await_condition
from vpn_lab import (
    BRIDGE,
    MACHINE,
    PREFIX,
    ROUTER,
    SECRET,
    SITE,
    SITE_ROUTER,
    Lab,
    charon_of,
    in_namespace,
)
from vpn_pair import (
    ONE,
    SECOND_ROUTER,
    SECOND_SITE,
    Pair,
    answers,
    nothing_clear,
    pair,
    pinging,
    seconds_until,
)

from state.model import State
from state.vpn import Role, TunnelState, inside_port, namespace, outside_port

__all__ = ["pair"]

RecordProperty = Callable[[str, object], None]


def test_status_says_what_is(pair: Pair) -> None:
    assert [pair.lab.status(f"vpnGateways/g{key}").state for key in (1, 2)] == [State.LIVE] * 2  # type: ignore[union-attr]
    status = pair.lab.status("vpnConnections/corp")
    assert status is not None
    assert (status.state, status.revision) == (State.LIVE, 1)
    tunnel = pair.lab.tunnel("corp")
    assert tunnel.peer_address == "198.51.100.2"
    assert "AES_GCM_16_256" in tunnel.ike_proposal
    assert "AES_GCM_16_256" in tunnel.esp_proposal
    assert abs(tunnel.since / 1000 - time.time()) < 120


def test_equal_prefixes_do_not_meet(pair: Pair) -> None:
    for machine, key in (("m1", 1), ("m2", 2)):
        before = [_sent(pair.lab, name) for name in ("corp", "other")]
        for _ in range(3):
            assert answers(SITE_ROUTER, machine)
        wanted = [count + 3 * (number == key) for number, count in zip((1, 2), before, strict=True)]
        await_condition(
            lambda w=wanted: [_sent(pair.lab, name) for name in ("corp", "other")] == w,  # type: ignore[misc]
            "counted", 10,
        )  # fmt: skip


def _sent(lab_: Lab, name: str) -> int:
    return int(lab_.tunnel(name).packets_out)


def test_peers_reach_machines_and_the_router_and_no_more(pair: Pair) -> None:
    for target in (MACHINE, ROUTER):
        assert in_namespace("corp", "ping", "-c1", "-W1", "-I", SITE_ROUTER, target)
    # By nothing but echo, from whatever port.
    with _listening(namespace(1), ROUTER, 5353) as port:
        for source in (0, 53):
            with pytest.raises(CommandError, match=r"timed out"):
                in_namespace("corp", sys.executable, "-c", _ASK.format(source=source, target=ROUTER, port=port))


def test_the_router_asks_servers_beyond_the_tunnel(pair: Pair) -> None:
    with _listening("corp", SITE_ROUTER, 53):
        for _ in range(2):
            answer = in_namespace(
                namespace(1), sys.executable, "-c", _ASK.format(source=0, target=SITE_ROUTER, port=53)
            )
            assert answer.strip() == ROUTER


_ASK = """
import socket
client = socket.socket()
client.settimeout(0.5)
client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
client.bind(("", {source}))
client.connect(("{target}", {port}))
print(client.recv(100).decode())
"""
_LISTEN = """
import socket
server = socket.create_server(("{address}", {port}))
print("listening", flush=True)
while True:
    client, (address, port) = server.accept()
    client.sendall(address.encode())
    client.close()
"""


@contextmanager
def _listening(name: str, address: str, port: int) -> Iterator[int]:
    """A TCP server in a namespace that says who asks."""
    command = ["nsenter", f"--net=/run/netns/{name}", sys.executable, "-c", _LISTEN.format(address=address, port=port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        try:
            yield port
        finally:
            server.kill()


def test_segments_are_clamped(pair: Pair) -> None:
    seen = ["tcpdump", "-lnni", "eth0", "-c1", "--immediate-mode", "tcp[tcpflags] & tcp-syn != 0"]
    capture = subprocess.Popen(
        ["nsenter", "--net=/run/netns/m1", *seen], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert capture.stderr is not None
    while "listening" not in capture.stderr.readline():
        pass
    knock = f"import socket; s = socket.socket(); s.bind(('{SITE_ROUTER}', 0)); s.connect_ex(('{MACHINE}', 9))"
    in_namespace("corp", "ip", "route", "replace", PREFIX, "dev", "ipsec0", "advmss", "1460", "table", "220")
    in_namespace("corp", "python3", "-c", knock)
    assert "mss 1360" in capture.communicate(timeout=10)[0]


def test_metrics(pair: Pair) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def told() -> set[str]:
        with opener.open("http://127.0.0.1:7404/metrics", timeout=5) as answer:
            return set(answer.read().decode().splitlines())

    wanted = {"sluice_vpn_gateways_wanted 2.0", "sluice_vpn_gateways_running 2.0",
              'sluice_vpn_tunnels{state="established"} 3.0', "sluice_vpn_faults_total 0.0"}  # fmt: skip
    await_condition(lambda: wanted <= told(), "told", 10)


def test_what_is_too_big_is_told_by_the_router(pair: Pair) -> None:
    command = ["nsenter", "--net=/run/netns/m1", "ping", "-c1", "-W1", "-M", "do", "-s", "1450", SITE_ROUTER]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert f"From {ROUTER}" in said
    assert "mtu = 1400" in said
    assert answers(SITE_ROUTER)


def test_a_change_of_one_connection_leaves_the_other_alone(pair: Pair) -> None:
    charon = charon_of(1)
    with pinging("m1", SITE_ROUTER) as lost:
        pair.lab.change("branch", dpd_seconds=3, revision=2)
        await_condition(lambda: _revision(pair.lab, "branch") == 2, "changed", 10)
        pair.lab.await_tunnel("branch", "established")
        assert answers(SECOND_ROUTER)
    assert lost() == 0
    assert charon_of(1) == charon
    with pinging("m1", SITE_ROUTER) as lost:
        pair.lab.delete("Vpn_Connection", "branch")
        await_condition(lambda: pair.lab.status("vpnConnections/branch") is None, "told no more", 10)
        await_condition(lambda: not answers(SECOND_ROUTER, seconds=0.1), "closed", 5)
        pair.lab.connection(pair.first, "branch", pair.second_peer.address, remote_prefixes=(SECOND_SITE,))
        pair.lab.await_tunnel("branch", "established")
    assert lost() == 0


def _revision(lab_: Lab, name: str) -> int:
    status = lab_.status(f"vpnConnections/{name}")
    return status.revision if status is not None else 0


def test_a_killed_charon_is_back(pair: Pair, record_property: RecordProperty) -> None:
    before = charon_of(1)
    with nothing_clear(1), pinging("m2", SITE_ROUTER) as lost:
        counted = pair.lab.tunnel("corp").bytes_in
        os.kill(before, signal.SIGKILL)
        took = seconds_until(lambda: answers(SITE_ROUTER, seconds=0.1), "back", 10)
        record_property("seconds", took)
        assert took < 3
    assert lost() == 0
    assert charon_of(1) != before
    assert pair.lab.tunnel("corp").bytes_in >= counted


def test_a_hung_charon_is_replaced(pair: Pair, record_property: RecordProperty) -> None:
    before = charon_of(1)
    with nothing_clear(1):
        os.kill(before, signal.SIGSTOP)
        record_property("seconds", seconds_until(lambda: _other(1, before), "replaced", 15))
        record_property("back", seconds_until(lambda: answers(SITE_ROUTER, seconds=0.1), "back", 10))


def _other(key: int, before: int) -> bool:
    with suppress(LookupError):
        return charon_of(key) != before
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_charon_outlives_the_daemon_and_is_adopted(pair: Pair, number: int) -> None:
    pair.lab.await_tunnel("corp", "established")
    before, since = charon_of(1), pair.lab.tunnel("corp").since
    sent = _sent(pair.lab, "corp")
    with pinging("m1", SITE_ROUTER) as lost, pinging("m2", SITE_ROUTER) as other:
        pair.lab.stop(number)
        pair.lab.start()
        await_condition(lambda: "IKE daemon adopted" in pair.lab.since_start(), "adopted", 10)
        await_condition(lambda: _sent(pair.lab, "corp") > sent + 20, "counted on", 10)
    assert (lost(), other()) == (0, 0)
    assert charon_of(1) == before
    assert pair.lab.tunnel("corp").since == since
    count = _charons_count(1)
    await_condition(lambda: _sent(pair.lab, "corp") >= count, "counted all", 10)


def _charons_count(key: int) -> int:
    shown = json.loads(in_namespace(namespace(key), "ip", "-json", "-s", "link", "show", "ipsec0"))
    # Two connections share the device; the one to the branch is silent.
    return int(shown[0]["stats64"]["tx"]["packets"]) - 50


def test_a_peer_that_dies_is_noticed_and_comes_back(pair: Pair, record_property: RecordProperty) -> None:
    with nothing_clear(1):
        pair.peer.kill()
        began = time.monotonic()
        await_condition(lambda: pair.lab.tunnel("corp").state is not TunnelState.ESTABLISHED, "noticed", 12)
        record_property("noticed", time.monotonic() - began)
        tunnel = pair.lab.tunnel("corp")
        assert "198.51.100.2 does not answer" in tunnel.error
        assert (tunnel.state, tunnel.detail) == (TunnelState.DOWN, tunnel.error)
        assert not answers(SITE_ROUTER)
        pair.peer.start()
        pair.peer.connect(ONE)
        record_property("back", pair.lab.await_tunnel("corp", "established"))
        assert answers(SITE_ROUTER)


def test_nothing_leaks_without_charon_and_daemon(pair: Pair) -> None:
    pair.lab.stop(signal.SIGKILL)
    try:
        os.kill(charon_of(1), signal.SIGKILL)
        with nothing_clear(1, silent=True):
            await_condition(lambda: not _other(1, 0), "charon gone", 5)
            assert not answers(SITE_ROUTER)
            # Not even by a route that should not be there.
            in_namespace(namespace(1), "ip", "route", "add", SITE, "via", "169.254.0.1", "dev", "outside", "onlink",
                         "metric", "1", "table", "73")  # fmt: skip
            assert not answers(SITE_ROUTER)
            in_namespace(namespace(1), "ip", "rule", "flush")
            in_namespace(namespace(1), "ip", "rule", "add", "lookup", "main")
            for target in ("198.51.100.2", "192.0.2.1"):
                assert not answers(target, namespace(1), 0.2)
    finally:
        pair.lab.start()
    pair.lab.await_tunnel("corp", "established")
    await_condition(lambda: answers(SITE_ROUTER), "reached", 10)


def test_what_is_taken_from_the_namespace_comes_back(pair: Pair) -> None:
    refused = [
        f"/proc/sys/net/ipv4/conf/{device}/{key}"
        for device in ("all", "inside", "outside")
        for key in ("accept_redirects", "send_redirects", "accept_source_route")
    ]

    def state() -> list[str]:
        commands = (
            ["nft", "list", "ruleset"],
            ["ip", "rule"],
            ["ip", "route", "show", "table", "72"],
            ["cat", *refused],
        )
        return [in_namespace(namespace(1), *command) for command in commands]

    before = state()
    assert before[3].split() == ["0"] * len(refused)
    changed = "".join(f"; echo 1 >{file}" for file in refused)
    in_namespace(namespace(1), "sh", "-ec", f"nft flush ruleset; ip rule flush; ip route flush table 72{changed}")
    pair.lab.stop()
    pair.lab.start()
    await_condition(lambda: state()[0] == before[0] and answers(SITE_ROUTER, seconds=0.1), "mended", 10)
    # Charon's own rule is without use.
    rules = [
        [line for line in shown.splitlines() if int(line.split(":")[0]) < 32767] for shown in (before[1], state()[1])
    ]
    assert rules[0] == rules[1]
    assert state()[2:] == before[2:]


def test_a_namespace_that_is_gone_is_made_anew(pair: Pair) -> None:
    pair.lab.stop()
    os.kill(charon_of(2), signal.SIGKILL)
    run(["ip", "netns", "delete", namespace(2)])
    pair.lab.start()

    def joined() -> bool:
        # Numbers change as ports are plugged anew.
        with suppress(CommandError):
            pair.lab.join(2, [pair.other_peer], "m2")
        return answers(SITE_ROUTER, "m2", 0.2)

    await_condition(joined, "reached again", 20, 0.2)


def test_a_charon_whose_files_are_gone_is_replaced(pair: Pair) -> None:
    before = charon_of(1)
    pair.lab.stop()
    shutil.rmtree(pair.lab.directory / "1")
    pair.lab.start()
    await_condition(lambda: _other(1, before) and not Path(f"/proc/{before}").exists(), "replaced", 10)
    await_condition(lambda: answers(SITE_ROUTER, seconds=0.1), "reached", 10)


def test_legs_that_vanish_are_made_and_plugged_anew(pair: Pair) -> None:
    run(["ip", "link", "delete", outside_port(2)])
    ports = {inside_port(2), outside_port(2)}
    await_condition(lambda: ports <= set(os.listdir("/sys/class/net")), "legs made", 10)

    def joined() -> bool:
        # Numbers change as ports are plugged anew.
        with suppress(CommandError):
            pair.lab.join(2, [pair.other_peer], "m2")
        return answers(SITE_ROUTER, "m2", 0.2)

    await_condition(joined, "reached again", 20, 0.2)


def test_no_secret_is_in_files_logs_or_the_process_list(pair: Pair) -> None:
    places = [*pair.lab.directory.rglob("*"), pair.lab.log]
    assert any(place.name == "charon.conf" for place in places)
    for place in places:
        if place.is_file():
            assert SECRET.encode() not in place.read_bytes(), place
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            assert SECRET.encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert pair.lab.directory.stat().st_mode & 0o777 == 0o700
    for file in pair.lab.directory.glob("*/charon.conf"):
        assert file.stat().st_mode & 0o777 == 0o600


def test_a_remote_prefix_may_hold_the_peer_itself(pair: Pair) -> None:
    third = pair.lab.peer("third", "198.51.100.14", "198.51.100.30/32")
    prefix = "198.51.100.12/30"
    third.connect("203.0.113.12", child_local_ts=[prefix, "198.51.100.30/32"])
    gateway = pair.lab.gateway(3, "203.0.113.12")
    pair.lab.connection(gateway, "third", third.address, remote_prefixes=(prefix, "198.51.100.30/32"))
    pair.lab.join(3, [third], pair.lab.machine("m3"))
    pair.lab.await_tunnel("third", "established")
    assert answers("198.51.100.30", "m3")
    _remove(pair.lab, 3, "third")


def test_a_gateway_goes_with_all_it_had(pair: Pair) -> None:
    gateway = pair.lab.gateway(4, "203.0.113.13")
    pair.lab.connection(gateway, "brief", "198.51.100.18", role=Role.RESPONDER)
    await_condition(lambda: pair.lab.status("vpnConnections/brief") is not None, "told", 10)
    pid = charon_of(4)
    # Gone while the daemon is away, too.
    pair.lab.stop()
    _remove(pair.lab, 4, "brief", wait=False)
    pair.lab.start()
    await_condition(lambda: not Path(f"/proc/{pid}").exists() and not _left(pair.lab, 4), "gone", 15)
    pair.lab.await_tunnel("corp", "established")


def _remove(made: Lab, key: int, connection: str, *, wait: bool = True) -> None:
    made.delete("Vpn_Connection", connection)
    made.delete("Vpn_Gateway", f"g{key}")
    if wait:
        await_condition(lambda: not _left(made, key), "gone", 15)


def _left(made: Lab, key: int) -> set[str]:
    """What there is still of a gateway."""
    things = {
        "namespace": Path("/run/netns", namespace(key)).exists(),
        "files": (made.directory / str(key)).exists(),
        "ports": bool({inside_port(key), outside_port(key)} & set(run(["ovs-vsctl", "list-ports", BRIDGE]).split())),
        "status": made.status(f"vpnGateways/g{key}") is not None,
    }
    return {name for name, there in things.items() if there}
