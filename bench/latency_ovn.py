#!/usr/bin/env python3
"""The peer of `latency.py`: the same time for OVN, on the same kind of machine.

One logical switch, router, SNAT and DHCP a network behind one gateway chassis,
as an OpenStack or Kubernetes deployment makes them, with stateful ACLs. The
time counts from the `ovn-nbctl` command, given to a running daemon, to the first
answered ping. Needs the packages ovn-central and ovn-host.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "mininet")]

from first_ping import first_answer, packet_socket, pings  # noqa: E402

RUN = Path("/run/openvswitch")
OUTSIDE = "172.31.0.1"
BATCH = 50
SCHEMAS = {
    "conf": "/usr/share/openvswitch/vswitch.ovsschema",
    "nb": "/usr/share/ovn/ovn-nb.ovsschema",
    "sb": "/usr/share/ovn/ovn-sb.ovsschema",
}


def run(*command: str) -> str:
    """Output of a command; AssertionError with what it said when it failed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def daemon(*command: str) -> None:
    """Start a daemon that detaches by itself."""
    name = Path(command[0]).name + str(len(list(RUN.glob("*.pid"))))
    common = (f"--pidfile={RUN / name}.pid", f"--log-file={RUN / name}.log", "--detach", "--no-chdir", "-vconsole:off")
    run(*command, *common)


def start() -> None:
    """OVN's databases, northd, a chassis, and a provider network with the gateway."""
    os.environ.update({name: str(RUN) for name in ("OVS_RUNDIR", "OVN_RUNDIR", "OVS_LOGDIR", "OVN_LOGDIR")})
    RUN.mkdir(exist_ok=True)
    for name, schema in SCHEMAS.items():
        run("ovsdb-tool", "create", str(RUN / f"{name}.db"), schema)
        socket = RUN / ("db.sock" if name == "conf" else f"{name}.sock")
        daemon("ovsdb-server", str(RUN / f"{name}.db"), f"--remote=punix:{socket}", f"--unixctl={RUN / name}.ctl")
    os.environ |= {"OVN_NB_DB": f"unix:{RUN}/nb.sock", "OVN_SB_DB": f"unix:{RUN}/sb.sock"}
    run("ovs-vsctl", "--no-wait", "init")
    settings = {
        "system-id": "chassis", "ovn-remote": os.environ["OVN_SB_DB"], "ovn-encap-type": "geneve",
        "ovn-encap-ip": "127.0.0.1", "ovn-bridge-datapath-type": "netdev", "ovn-bridge-mappings": "outside:br-ex",
        "ovn-monitor-all": "true",
    }  # fmt: skip
    run("ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", *(f"external_ids:{k}={v}" for k, v in settings.items()))
    daemon("ovs-vswitchd", f"unix:{RUN}/db.sock", f"--unixctl={RUN}/vswitchd.ctl")
    for bridge in ("br-ex", "br-int"):
        run("ovs-vsctl", "add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev")
    daemon("ovn-northd", f"--ovnnb-db={os.environ['OVN_NB_DB']}", f"--ovnsb-db={os.environ['OVN_SB_DB']}")
    daemon("ovn-controller", f"unix:{RUN}/db.sock")
    daemon("ovn-nbctl", f"--unixctl={RUN}/nbctl.ctl")
    os.environ["OVN_NB_DAEMON"] = f"{RUN}/nbctl.ctl"
    pid = host("outside", "02:00:00:00:fe:01", "br-ex")
    run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "address", "add", f"{OUTSIDE}/16", "dev", "eth0")
    run(
        "ovn-nbctl", "ls-add", "outside", "--", "lsp-add", "outside", "wire", "--", "lsp-set-type", "wire", "localnet",
        "--", "lsp-set-addresses", "wire", "unknown", "--", "lsp-set-options", "wire", "network_name=outside",
        "--", "pg-add", "tenants",
        "--", "acl-add", "tenants", "from-lport", "1001", "inport == @tenants && ip4", "allow-related",
        "--", "acl-add", "tenants", "to-lport", "1000", "outport == @tenants && ip", "drop",
    )  # fmt: skip
    run("ovn-nbctl", "--wait=hv", "sync")


def host(name: str, mac: str, bridge: str) -> int:
    """A namespace with one interface on a bridge; the id of the process that holds it."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
        time.sleep(0.001)
    run("ip", "link", "add", name, "up", "type", "veth", "peer", "name", "eth0", "address", mac,
        "netns", str(holder.pid))  # fmt: skip
    inside = ("nsenter", f"--net=/proc/{holder.pid}/ns/net")
    run(*inside, "ip", "link", "set", "eth0", "up")
    run(*inside, "ethtool", "-K", "eth0", "tx", "off")
    run("ovs-vsctl", "add-port", bridge, name)
    return holder.pid


def mac(kind: int, number: int) -> str:
    """A locally administered MAC."""
    return f"02:0{kind}:00:00:{number >> 8:02x}:{number & 255:02x}"


def addresses(number: int) -> tuple[str, str, str]:
    """The /30's router and machine, and the public address of one network."""
    base = int(ipaddress.IPv4Address("10.64.0.0")) + 4 * number
    public = int(ipaddress.IPv4Address("172.31.1.0")) + number
    router, machine, outside = (str(ipaddress.IPv4Address(value)) for value in (base + 1, base + 2, public))
    return router, machine, outside


def network(number: int) -> list[str]:
    """The `ovn-nbctl` commands of one isolated network with its machine."""
    router, machine, outside = addresses(number)
    n = number
    return [
        *f"-- ls-add s{n} -- lsp-add s{n} m{n} -- lsp-set-addresses m{n}".split(), f"{mac(1, n)} {machine}",
        *f"-- lsp-set-port-security m{n}".split(), f"{mac(1, n)} {machine}",
        *f"-- lr-add r{n} -- set Logical_Router r{n} options:always_learn_from_arp_request=false".split(),
        "options:dynamic_neigh_routers=true",
        *f"-- lrp-add r{n} r{n}-s {mac(2, n)} {router}/30 -- lsp-add s{n} s{n}-r".split(),
        *f"-- lsp-set-type s{n}-r router -- lsp-set-addresses s{n}-r router".split(),
        *f"-- lsp-set-options s{n}-r router-port=r{n}-s".split(),
        *f"-- lrp-add r{n} r{n}-o {mac(3, n)} {outside}/16 -- lrp-set-gateway-chassis r{n}-o chassis 1".split(),
        *f"-- lsp-add outside o-{n} -- lsp-set-type o-{n} router -- lsp-set-addresses o-{n} router".split(),
        *f"-- lsp-set-options o-{n} router-port=r{n}-o nat-addresses=router exclude-lb-vips-from-garp=true".split(),
        *f"-- lr-route-add r{n} 0.0.0.0/0 {OUTSIDE} -- lr-nat-add r{n} snat {outside} {router}/30".split(),
        *f"-- --id=@d{n} create DHCP_Options cidr={router}/30 options:server_id={router}".split(),
        *f"options:server_mac={mac(2, n)} options:lease_time=3600 options:router={router} options:mtu=1500".split(),
        *f"-- set Logical_Switch_Port m{n} dhcpv4_options=@d{n}".split(),
        *f"-- --id=@p{n} get Logical_Switch_Port m{n} -- add Port_Group tenants ports @p{n}".split(),
    ]  # fmt: skip


def fill(present: int, wanted: int) -> float:
    """Bring OVN from `present` to `wanted` networks, all installed; the seconds it took."""
    started = time.perf_counter()
    for first in range(present, wanted, BATCH):
        numbers = range(first, min(first + BATCH, wanted))
        ports = []
        for n in numbers:
            # Internal ports cost less than veth pairs, and nothing is sent through them.
            ports += f"-- add-port br-int f{n} -- set Interface f{n} type=internal external_ids:iface-id=m{n}".split()
        run("ovs-vsctl", *ports[1:])
        run("ovn-nbctl", *[word for n in numbers for word in network(n)][1:])
    if wanted > present:
        run("ovn-nbctl", "--wait=hv", "sync")
    return time.perf_counter() - started


def measure(number: int) -> float:
    """Milliseconds from the command to the first answered ping."""
    pid = host(f"v{number}", mac(1, number), "br-int")
    run("ovs-vsctl", "set", "Interface", f"v{number}", f"external_ids:iface-id=m{number}")
    raw = packet_socket(pid)
    _, machine, _ = addresses(number)
    started = time.perf_counter()
    run("ovn-nbctl", *network(number)[1:])
    answered = first_answer(raw, pings(mac(1, number), mac(2, number), machine, OUTSIDE), started)
    raw.close()
    return (answered - started) * 1e3


def main() -> None:
    """Measure, and print a JSON object a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="0,1000", help="networks present, rising (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=5, help="networks created at each size (%(default)s)")
    options = parser.parse_args()
    start()
    present = 0
    for wanted in map(int, options.networks.split(",")):
        seconds = fill(present, wanted)
        results = [measure(wanted + n) for n in range(options.repetitions)]
        present = wanted + options.repetitions
        report = {
            "networks": wanted,
            "first_ping_ms": round(statistics.median(results), 2),
            "slowest_ms": round(max(results), 2),
            "repetitions": len(results),
            "fill_seconds": round(seconds, 2),
            "flows": int(run("ovs-ofctl", "dump-aggregate", "br-int").split("flow_count=")[1]),
        }
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
