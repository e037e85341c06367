"""`sluicectl trace`: what the bridge would do with a packet of a machine."""

from __future__ import annotations

import ipaddress
import re

import click

from cli import names, output, switch, verdict
from cli.command import command, pass_session
from cli.errors import Failure
from cli.session import CliSession
from controller import explain
from controller.pipeline.registry import Table
from sluice.v1 import machine_pb2, network_pb2

_ROUTER_MAC = re.compile(r"set_field:([0-9a-f:]{17})->arp_tha")
_EVERYBODY = ipaddress.IPv4Address("255.255.255.255")
# Without conntrack's own answer a trace shows the first packet of a connection
# as it is before NAT, which the next table drops.
_TRANSLATED = ("--ct-next", "trk,new", "--ct-next", "trk,new,snat")


@command(
    epilog="Examples: sluicectl trace web 198.51.100.10; sluicectl trace web 198.51.100.10 --protocol tcp --port 443;"
    " sluicectl trace pc1 10.0.0.3 --protocol icmp"
)
@click.argument("machine", type=names.MACHINES)
@click.argument("destination")
@click.option("--protocol", type=click.Choice(("tcp", "udp", "icmp")), default="icmp", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=80, show_default=True, help="Destination port.")
@click.option("--source", help="Pretend this source address.  [default: the machine's own]")
@pass_session
def trace(session: CliSession, machine: str, destination: str, protocol: str, port: int, source: str | None) -> None:
    """Show, table by table, what the bridge would do with a packet, and in the last line where it ends.

    Nothing is sent. MACHINE is the sender, DESTINATION an IPv4 address. Exit
    code 1 when the packet does not leave.
    """
    for address in (destination, source):
        _check(address)
    request = machine_pb2.GetMachineRequest(name=machine)
    sender = session.machines.GetMachine(request, timeout=session.timeout)
    wanted = network_pb2.GetNetworkRequest(name=sender.network)
    network = session.networks.GetNetwork(wanted, timeout=session.timeout)
    target = _next_mac(session, network, destination)
    packet = ",".join(_packet(sender, target, source or sender.address, destination, protocol, port))
    text = verdict.named(explain.translate_trace(switch.trace(session, packet, *_TRANSLATED)), switch.ports(session))
    found = verdict.judge(text, sender.attachment.port)
    if session.json:
        told = {"delivered": found.delivered, "ports": found.ports, "reason": found.reason}
        output.print_json({"machine": sender.name, "packet": packet, "trace": text.splitlines(), "verdict": told})
    else:
        click.echo(f"{text}\n{found}")
    if not found.delivered:
        click.get_current_context().exit(1)


def _packet(
    sender: machine_pb2.Machine, target: str, source: str, destination: str, protocol: str, port: int
) -> list[str]:
    attachment = sender.attachment
    terms = [protocol, f"in_port={attachment.port}", f"dl_src={sender.mac_address}", f"dl_dst={target}"]
    terms += [f"nw_src={source}", f"nw_dst={destination}", "nw_ttl=64"]
    if attachment.HasField("vlan"):
        terms.append(f"dl_vlan={attachment.vlan}")
    if attachment.HasField("vni"):
        terms.append(f"tun_id={attachment.vni}")
    if protocol == "icmp":
        terms += ["icmp_type=8", "icmp_code=0"]
    else:
        terms += [f"{protocol}_src=40000", f"{protocol}_dst={port}"]
    return terms


def _check(address: str | None) -> None:
    """Raise UsageError if it is no address; it becomes a part of a flow's text."""
    try:
        if address is not None:
            ipaddress.IPv4Address(address)
    except ValueError as error:
        raise click.UsageError(f"{address!r} is not an IPv4 address") from error


def _next_mac(session: CliSession, network: network_pb2.Network, destination: str) -> str:
    """The MAC a machine would put in the frame: a group's, a neighbour's, or the router's."""
    target, prefix = ipaddress.IPv4Address(destination), ipaddress.IPv4Network(network.prefix)
    if target.is_multicast:
        # RFC 1112 section 6.4: the last 23 bits.
        low = int(target) & 0x7FFFFF
        return f"01:00:5e:{low >> 16:02x}:{low >> 8 & 0xFF:02x}:{low & 0xFF:02x}"
    if target in (prefix.broadcast_address, _EVERYBODY):
        return "ff:ff:ff:ff:ff:ff"
    if target in prefix:
        for neighbour in names.MACHINES.all(session, network=network.name):
            if neighbour.address == destination:
                return neighbour.mac_address
    asked = f"arp_tpa={network.router_address}"
    for record in explain.parse_dump(switch.dump_flows(session, explain.cookie_filter(network.key))):
        found = _ROUTER_MAC.search(record.actions)
        if record.table is Table.ARP and asked in record.match.split(",") and found is not None:
            return found[1]
    raise Failure("NOT_LIVE", f"{network.name} has no router on the bridge: it is not live")
