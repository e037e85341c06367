#!/usr/bin/env python3
"""What is around an appliance, in namespaces of the same virtual machine: the Internet and customers' machines.

    lab.py up                   namespaces, cables, and the addresses that were leased before
    lab.py down                 nothing of that
    lab.py lease MACHINE        get an address by DHCP and print it
    lab.py ping MACHINE ADDRESS INTERVAL FILE       log echo replies until it is ended
    lab.py stream MACHINE ADDRESS FILE      log the time of each answer on one TCP connection until it ends
    ip netns exec internet lab.py echo      answer on TCP port 7; `up` starts it
    ip netns exec NAMESPACE lab.py record FILE      write each pair of IPv4 addresses that arrives there, once

Runs with nothing but Debian's base and udhcpc; `up` also from a unit at boot,
before Open vSwitch, as the devices of a real host are there before it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import time
from pathlib import Path

GATEWAY_PORT, INTERNET = "gateway", "internet"
INTERNET_ADDRESS, SERVER = "203.0.113.1/24", "198.51.100.1"
# Name of the machine, of its namespace and of its port on the bridge, and its MAC.
MACHINES = {"web": "02:00:00:00:01:01", "a1": "02:00:00:00:02:01", "a2": "02:00:00:00:02:02", "b1": "02:00:00:00:03:01"}
LEASES = Path("/var/lib/lab/leases.json")
SCRIPT = Path(__file__).resolve().parent / "udhcpc-script"
ETH_P_IP = 0x0800
ECHO_PORT = 7


def run(*command: str, **environment: str) -> str:
    """What a command printed. Raises CalledProcessError."""
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ).stdout


def add_namespace(name: str, port: str, mac: str) -> None:
    """A network namespace with the interface eth0, cabled to the device `port` of the host."""
    run("ip", "netns", "add", name)
    run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
    Path(f"/proc/sys/net/ipv6/conf/{port}/disable_ipv6").write_text("1")
    run("ip", "link", "set", port, "up")
    run("ip", "-n", name, "link", "set", "eth0", "address", mac)
    for device in ("lo", "eth0"):
        run("ip", "-n", name, "link", "set", device, "up")


def up() -> None:
    """Everything; machines that had an address have it again, as after their own reboot."""
    add_namespace(INTERNET, GATEWAY_PORT, "02:00:00:00:fe:01")
    run("ip", "-n", INTERNET, "address", "add", INTERNET_ADDRESS, "dev", "eth0")
    run("ip", "-n", INTERNET, "address", "add", f"{SERVER}/32", "dev", "lo")
    subprocess.Popen(
        ["ip", "netns", "exec", INTERNET, sys.executable, __file__, "echo"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    leases = json.loads(LEASES.read_text()) if LEASES.exists() else {}
    for name, mac in MACHINES.items():
        add_namespace(name, name, mac)
        if name in leases:
            address, router = leases[name]
            run("ip", "-n", name, "address", "add", address, "dev", "eth0")
            run("ip", "-n", name, "route", "add", "default", "via", router)


def down() -> None:
    """Delete the cables and the namespaces."""
    for name, port in ((INTERNET, GATEWAY_PORT), *((name, name) for name in MACHINES)):
        # A namespace, and a device in it, last for as long as a process is there.
        for pid in subprocess.run(["ip", "netns", "pids", name], capture_output=True, check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for command in (("ip", "link", "delete", port), ("ip", "netns", "delete", name)):
            subprocess.run(command, stderr=subprocess.DEVNULL, check=False)


def lease(name: str) -> None:
    """DHCP as a machine does it; the lease is kept for the next `up`."""
    file = Path(f"/run/lab-{name}")
    enter = ("ip", "netns", "exec", name)
    run(*enter, "udhcpc", "-q", "-n", "-i", "eth0", "-s", str(SCRIPT), "-T", "1", "-t", "20", LEASE=str(file))
    options = dict(line.split("=", 1) for line in file.read_text().splitlines())
    leases = json.loads(LEASES.read_text()) if LEASES.exists() else {}
    leases[name] = f"{options['ip']}/{options['mask']}", options["router"]
    LEASES.parent.mkdir(exist_ok=True)
    LEASES.write_text(json.dumps(leases))
    print(options["ip"])


def ping(name: str, address: str, interval: str, file: str) -> None:
    """ping(8) with times and with a line for each reply that did not come."""
    with open(file, "w") as log:
        os.dup2(log.fileno(), 1)
        os.execvp("ip", ["ip", "netns", "exec", name, "ping", "-D", "-O", "-n", "-i", interval, "-W", "1", address])


def echo() -> None:
    """Send back what comes on each connection."""

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(4096):
                self.request.sendall(data)

    with socketserver.ThreadingTCPServer(("0.0.0.0", ECHO_PORT), Echo) as server:
        server.serve_forever()


def stream(name: str, address: str, file: str) -> None:
    """`exchange` in the machine's namespace."""
    os.execvp("ip", ["ip", "netns", "exec", name, sys.executable, __file__, "exchange", address, file])


def exchange(address: str, file: str) -> None:
    """An exchange every 10 ms on one connection; a time is logged for each answer."""
    with socket.create_connection((address, ECHO_PORT), 60) as link, open(file, "w", 1) as log:
        for number in itertools.count():
            message = number.to_bytes(8, "big")
            link.sendall(message)
            if link.recv(8, socket.MSG_WAITALL) != message:
                sys.exit("another answer than what was asked")
            print(time.time(), file=log)
            time.sleep(0.01)


def record(file: str) -> None:
    """Pairs of source and destination, a line each, of IPv4 packets that arrive at eth0."""
    seen = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP)) as link, open(file, "w", 1) as log:
        link.bind(("eth0", ETH_P_IP))
        while True:
            packet, (_, _, kind, *_) = link.recvfrom(65535)
            pair = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
            if kind != socket.PACKET_OUTGOING and pair not in seen:
                seen.add(pair)
                print(*pair, file=log)


if __name__ == "__main__":
    commands = (up, down, lease, ping, stream, exchange, echo, record)
    {command.__name__: command for command in commands}[sys.argv[1]](*sys.argv[2:])
