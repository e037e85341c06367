#!/usr/bin/env python3
"""Two sites of customer `a` around an appliance, in namespaces of the same virtual machine, each with its own router.

    peers.py vpn GATEWAY SECRET     `office`, an IPsec gateway in the Internet: strongSwan with the kernel's ESP
    peers.py bgp                    `plant`, a BGP router at the other end of VLAN 101 of port `plant`: FRR

After `lab.py up`. strongSwan and FRR are those that the appliance's package
recommends, as vici is the one it brings.
"""

from __future__ import annotations

import glob
import os
import socket
import subprocess
import sys
from pathlib import Path

from bgp_speaker import BgpSpeaker, Neighbor
from lab import INTERNET, run
from supervisor import await_condition

sys.path.append(glob.glob(f"/usr/lib/sluice/python3.{sys.version_info[1]}")[0])
import vici

OFFICE, OFFICE_LINK, OFFICE_ADDRESS = "office", "198.51.100.65", "198.51.100.66"
OFFICE_PREFIX, OFFICE_PC = "192.168.50.0/24", "192.168.50.10"
PLANT, PLANT_VLAN, PLANT_LINK = "plant", 101, "169.254.101.2"
PLANT_PREFIX, PLANT_PC, PLANT_AS = "192.168.60.0/24", "192.168.60.10", 65010
APPLIANCE_LINK, APPLIANCE_AS = "169.254.101.1", 64512
MACHINES = "10.0.0.0/16"

_IKE, _ESP = "aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384"
_CHARON = "/usr/lib/ipsec/charon"
_RUN = Path("/run/office")
_CHARON_CONFIGURATION = """
charon {
    load = random nonce openssl kdf pem pubkey kernel-netlink socket-default vici
    plugins {
        vici {
            socket = unix:///run/charon.vici
        }
    }
}
"""


def vpn(gateway: str, secret: str) -> None:
    """The office, its router's IKE daemon and the connection that it waits for."""
    run("ip", "netns", "add", OFFICE)
    run("ip", "-n", INTERNET, "link", "add", "office-up", "type", "veth", "peer", "name", "eth0", "netns", OFFICE)
    run("ip", "-n", INTERNET, "address", "add", f"{OFFICE_LINK}/30", "dev", "office-up")
    run("ip", "-n", INTERNET, "link", "set", "office-up", "up")
    run("ip", "netns", "exec", INTERNET, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    addresses(OFFICE, "eth0", f"{OFFICE_ADDRESS}/30", OFFICE_PC)
    run("ip", "-n", OFFICE, "route", "add", "default", "via", OFFICE_LINK)
    _RUN.mkdir()
    (_RUN / "charon.conf").write_text(_CHARON_CONFIGURATION)
    # The name of its pid file is compiled in: it has a /run of its own.
    subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{OFFICE}", "unshare", "--mount", "sh", "-c",
         f"mount --bind {_RUN} /run && exec {_CHARON}"],
        env={**os.environ, "STRONGSWAN_CONF": "/run/charon.conf"}, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    await_condition((_RUN / "charon.vici").exists, "charon of the office answers", 60)
    link = socket.socket(socket.AF_UNIX)
    link.connect(str(_RUN / "charon.vici"))
    session = vici.Session(link)
    session.load_shared({"id": "a", "type": "IKE", "data": secret, "owners": [gateway]})
    child = {"mode": "tunnel", "local_ts": [OFFICE_PREFIX], "remote_ts": [MACHINES], "esp_proposals": [_ESP]}
    session.load_conn({"a": {
        "version": "2", "local_addrs": [OFFICE_ADDRESS], "remote_addrs": [gateway], "encap": "yes", "mobike": "no",
        "proposals": [_IKE], "children": {"a": child},
        "local": {"auth": "psk", "id": OFFICE_ADDRESS}, "remote": {"auth": "psk", "id": gateway},
    }})  # fmt: skip


def bgp() -> None:
    """The plant, and its router's session."""
    run("ip", "netns", "add", PLANT)
    run("ip", "link", "add", PLANT, "type", "veth", "peer", "name", "eth0", "netns", PLANT)
    run("ip", "link", "set", PLANT, "up")
    link = f"eth0.{PLANT_VLAN}"
    run("ip", "-n", PLANT, "link", "add", "link", "eth0", "name", link, "type", "vlan", "id", str(PLANT_VLAN))
    run("ip", "-n", PLANT, "link", "set", "eth0", "up")
    addresses(PLANT, link, f"{PLANT_LINK}/30", PLANT_PC)
    session = Neighbor(APPLIANCE_LINK, APPLIANCE_AS, networks=[PLANT_PREFIX], bfd_milliseconds=300)
    BgpSpeaker(f"/run/netns/{PLANT}", Path("/run/plant")).start_with(PLANT_LINK, PLANT_AS, session)


def addresses(namespace: str, link: str, outer: str, inner: str) -> None:
    """A router that is also the one PC of its site."""
    for device in ("lo", link):
        run("ip", "-n", namespace, "link", "set", device, "up")
    run("ip", "-n", namespace, "address", "add", outer, "dev", link)
    run("ip", "-n", namespace, "address", "add", f"{inner}/32", "dev", "lo")


if __name__ == "__main__":
    {"vpn": vpn, "bgp": bgp}[sys.argv[1]](*sys.argv[2:])
