"""Configured ports: there, with carrier, a sufficient MTU and no address of the host; and the next hop."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.config import Config
from agent.host import kernel
from agent.host.kernel import Device
from agent.host.setup import port_mtus
from cli import switch
from cli.doctor import arp_probe
from cli.doctor.finding import Finding, error, ok, warning
from cli.doctor.tools import json_of, output_of
from cli.errors import Failure
from cli.session import CliSession


@dataclass(frozen=True, slots=True)
class Port:
    """A configured port: the MTU it needs, its device (None: missing), the host's addresses on it, its filters."""

    name: str
    mtu: int
    device: Device | None
    addresses: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NextHop:
    """The next hop's MAC as the flows or a probe found it; `asked` tells whether anything could ask."""

    address: str
    mac: str
    asked: bool = True


def gather(config: Config) -> tuple[Port, ...]:
    """Look at each configured port."""
    return tuple(_port(name, mtu) for name, mtu in port_mtus(config).items())


def _port(name: str, mtu: int) -> Port:
    device = kernel.device(name)
    if device is None:
        return Port(name, mtu, None)
    shown = json_of("ip", "-json", "address", "show", "dev", name)
    addresses = [f"{one['local']}/{one['prefixlen']}" for link in shown for one in link.get("addr_info", ())
                 if one.get("scope") != "link"]  # fmt: skip
    filters = []
    # With offload Open vSwitch itself puts filters of kind flower there; with any other it is somebody else's.
    if "filter" in (output_of("tc", "filter", "show", "dev", name, "ingress") or ""):
        filters.append(f"tc filter show dev {name} ingress")
    if hooks_of(output_of("nft", "list", "ruleset", "netdev") or "", name):
        filters.append("nft list ruleset netdev")
    return Port(name, mtu, device, tuple(addresses), tuple(filters))


def hooks_of(rules: str, port: str) -> list[str]:
    """Lines of an nftables ruleset of family netdev, as nft(8) prints it, that hook into `port`."""
    return [
        line.strip() for line in rules.splitlines() if " hook " in line and re.search(rf"\b{re.escape(port)}\b", line)
    ]


def next_hop(session: CliSession, config: Config) -> NextHop:
    """Ask the flows, and where they do not say, the link itself by an ARP probe, which changes no cache."""
    gateway = config.appliance.gateway
    try:
        if mac := switch.next_hop_mac(session):
            return NextHop(gateway.next_hop, mac)
    except Failure:
        # No bridge yet, or not for this user: the link can still tell.
        pass
    try:
        return NextHop(gateway.next_hop, arp_probe.probe(gateway.port, gateway.next_hop))
    except OSError:
        return NextHop(gateway.next_hop, "", asked=False)


def judge(ports: tuple[Port, ...]) -> list[Finding]:
    """All that is wrong with each port, or one line that nothing is."""
    found = []
    for port in ports:
        problems = _problems(port)
        detail = "" if port.device is None else f"MTU {port.device.mtu}, carrier, no address of the host"
        found += problems or [ok(f"port {port.name}", detail)]
    return found


def _problems(port: Port) -> list[Finding]:
    check, device = f"port {port.name}", port.device
    if device is None:
        return [error(check, "does not exist", "compare the configuration with: ip link show")]
    found = []
    if not device.carrier:
        found.append(error(check, "no carrier", f"ip link set {port.name} up; then cable and the other side"))
    if device.mtu < port.mtu:
        what = f"MTU {device.mtu}, configured is {port.mtu}: larger packets are lost"
        found.append(error(check, what, f"ip link set {port.name} mtu {port.mtu}"))
    for address in port.addresses:
        what = f"has address {address} of the host, which then answers beside the appliance"
        found.append(error(check, what, f"ip address del {address} dev {port.name}, and where it is configured"))
    for feature in device.aggregations:
        advice = "use another device" if feature in device.fixed else f"ethtool -K {port.name} {feature} off"
        found.append(warning(check, f"{feature} is on: packets are joined before they are forwarded", advice))
    for command in port.filters:
        found.append(warning(check, "another packet filter is on it", f"{command}; remove what is not meant"))
    return found


def judge_next_hop(hop: NextHop) -> list[Finding]:
    """Whether the next hop was heard of."""
    check = f"next hop {hop.address}"
    if hop.mac:
        return [ok(check, hop.mac)]
    if not hop.asked:
        return [warning(check, "cannot be asked", "run as root, with the gateway port up")]
    return [error(check, "does not answer ARP", "is the gateway port on the right link, and [gateway] next_hop right?")]
