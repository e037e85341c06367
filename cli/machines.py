"""`sluicectl machines`."""

from __future__ import annotations

from typing import TextIO

import click
import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from cli import additional as additional_addresses
from cli import creation, deletion, import_file, limits, names, options, output, watching
from cli.command import group, pass_session
from cli.errors import from_call
from cli.integers import INT32
from cli.mac import mac_option
from cli.session import CliSession
from sluice.v1 import machine_pb2

_COLUMNS = ("NAME", "NETWORK", "ADDRESS", "MAC", "HOSTNAME", "ATTACHMENT", "STATE", "DETAIL")


def attachment_text(attachment: machine_pb2.Attachment) -> str:
    """`PORT`, `PORT/vlan=10` or `PORT/vni=5000`."""
    tag = attachment.WhichOneof("tag")
    return f"{attachment.port}/{tag}={getattr(attachment, tag)}" if tag else attachment.port


def _attachment(port: str | None, vlan: int | None, vni: int | None) -> machine_pb2.Attachment | None:
    if port is None:
        if vlan is not None or vni is not None:
            raise click.UsageError("--vlan and --vni need --port: they belong to a port")
        return None
    try:
        return import_file.attachment(port, vlan, vni)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _row(machine: machine_pb2.Machine) -> tuple[object, ...]:
    return (
        names.short(machine.name),
        names.short(machine.network),
        machine.address,
        machine.mac_address,
        machine.hostname,
        attachment_text(machine.attachment),
        creation.state_word(machine.status),
        machine.status.detail,
    )


def _show(session: CliSession, machine: machine_pb2.Machine) -> None:
    if session.json:
        output.print_json(output.to_json(machine))
        return
    labels = ("name", "network", "address", "MAC", "hostname", "attachment", "state", "detail")
    output.print_fields(
        [
            *zip(labels, _row(machine), strict=True),
            ("DNS name", machine.dns_name),
            ("public address", names.short(machine.public_address)),
            ("additional addresses", additional_addresses.shown(machine.attachment)),
            *limits.shown(machine.limits),
            ("tenant", machine.tenant),
            ("created", output.moment(machine.create_time)),
        ]
    )


@group()
def machines() -> None:
    """What customers run."""


@machines.command("list", epilog="Example: sluicectl machines list --network office")
@options.of_network
@options.of_tenant
@pass_session
def list_(session: CliSession, network: str, tenant: str) -> None:
    """List machines in order of name."""
    found = names.MACHINES.all(session, network=network, tenant=tenant)
    output.print_list(found, _COLUMNS, _row, "no machines", as_json=session.json)


@machines.command(epilog="Example: sluicectl machines show web --wait")
@click.argument("machine", type=names.MACHINES)
@options.wait
@pass_session
def show(session: CliSession, machine: str, wait: bool) -> None:
    """Show one machine."""
    request = machine_pb2.GetMachineRequest(name=machine, wait_live=wait)
    _show(session, session.machines.GetMachine(request, timeout=session.timeout))


@machines.command(
    epilog="Examples: sluicectl machines create web --mac 02:00:00:00:00:01 --port h1-eth0 --wait;"
    " sluicectl machines create pc1 --network office --mac 02:00:00:00:00:02 --port trunk1 --vlan 10;"
    " sluicectl machines create lb1 --network office --mac 02:00:00:00:00:03 --port h3-eth0"
    " --additional-address 10.0.9.9,00:00:5e:00:01:33;"
    " sluicectl machines create --file machines.csv --wait"
)
@click.argument("machine", required=False, default="", callback=names.not_empty)
@click.option("--mac", callback=mac_option, help="Ethernet address of the machine.")
@click.option("--port", help="Port of the bridge the machine is attached to.")
@click.option("--vlan", type=INT32, help="VLAN id on that port.  [default: untagged]")
@click.option("--vni", type=INT32, help="VNI on that port.")
@click.option("--network", default="", type=names.NETWORKS, help="Network.  [default: an isolated one]")
@click.option("--address", default="", help="IPv4 address.  [default: the lowest free one]")
@click.option("--hostname", default="", help="Hostname.  [default: the machine's name]")
@click.option("--tenant", default="", help="Customer of the isolated network made with the machine.")
@click.option("--public-address", default="", type=names.PUBLIC_ADDRESSES,
              help="Public address that is to stand for the machine, one that stands for none yet.")  # fmt: skip
@additional_addresses.address_option("Virtual address it may take, as by VRRP, and a MAC that moves along; repeatable.")
@limits.limit_options
@click.option(
    "--file",
    "source",
    type=click.File(encoding="utf-8-sig"),
    help=f"Create all machines of a file at once, all or none: a JSON list as `machines list -o json` writes it,"
    f" or NAME.csv with a header line of {', '.join(import_file.COLUMNS)}; `-` reads either from stdin.",
)
@creation.wait_options
@pass_session
def create(
    session: CliSession,
    machine: str,
    mac: str | None,
    port: str | None,
    vlan: int | None,
    vni: int | None,
    network: str,
    address: str,
    hostname: str,
    tenant: str,
    public_address: str,
    additional: tuple[str, ...],
    public_rate: int | None,
    storage_rate: int | None,
    source: TextIO | None,
    wait: bool,
    request_id: str | None,
) -> None:
    """Create a machine; without --network it gets an isolated network of its own."""
    if source is not None:
        given = (machine, mac, port, vlan, vni, network, address, hostname, tenant, public_address, additional)
        if any((*given, public_rate, storage_rate)):
            raise click.UsageError("--file stands alone: everything about the machines is in the file")
        _create_batch(session, source, wait, request_id)
        return
    attachment = _attachment(port, vlan, vni)
    if mac is None or attachment is None:
        raise click.UsageError("a machine needs --mac and --port, or --file for many")
    attachment.additional_addresses.extend(additional_addresses.addresses(additional))
    wanted = machine_pb2.Machine(
        network=network,
        mac_address=mac,
        address=address,
        hostname=hostname,
        attachment=attachment,
        tenant=tenant,
        limits=limits.limits(public_rate, storage_rate),
        public_address=public_address,
    )
    request = machine_pb2.CreateMachineRequest(
        machine_id=names.short(machine),
        machine=wanted,
        request_id=creation.new_request_id(request_id),
        wait_live=wait,
    )
    made = creation.create(session.machines.CreateMachine, request, session.timeout)
    _show(session, made)
    if wait:
        creation.require_live([made])


def _create_batch(session: CliSession, source: TextIO, wait: bool, request_id: str | None) -> None:
    try:
        text = source.read()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{source.name} is not text in UTF-8") from error
    wanted = import_file.read(source.name, text)
    request = machine_pb2.BatchCreateMachinesRequest(
        requests=wanted.requests,
        request_id=creation.new_request_id(request_id),
        wait_live=wait,
    )
    try:
        made = creation.create(session.machines.BatchCreateMachines, request, session.timeout).machines
    except grpc.RpcError as error:
        raise wanted.explain(from_call(error, session.api)) from error
    if session.json:
        output.print_json([output.to_json(machine) for machine in made])
    else:
        output.print_table(_COLUMNS, map(_row, made), "the file holds no machines")
    if wait:
        creation.require_live(made)


@machines.command("set", epilog="Example: sluicectl machines set web --port trunk1 --vlan 12")
@click.argument("machine", type=names.MACHINES)
@click.option("--mac", callback=mac_option, help="New Ethernet address.")
@click.option("--port", help="New port; with --vlan or --vni where it is shared, else untagged.")
@click.option("--vlan", type=INT32, help="VLAN id on the new port.")
@click.option("--vni", type=INT32, help="VNI on the new port.")
@click.option("--hostname", help="New hostname.")
@additional_addresses.address_option("Virtual address it may take, in place of all it could; repeatable.")
@click.option("--no-additional-addresses", "none", is_flag=True, help="It may take no virtual address any more.")
@limits.limit_options
@options.wait
@pass_session
def set_(
    session: CliSession,
    machine: str,
    mac: str | None,
    port: str | None,
    vlan: int | None,
    vni: int | None,
    hostname: str | None,
    additional: tuple[str, ...],
    none: bool,
    public_rate: int | None,
    storage_rate: int | None,
    wait: bool,
) -> None:
    """Change a machine's attachment, additional addresses, MAC, hostname or limits."""
    if additional and none:
        raise click.UsageError("--additional-address and --no-additional-addresses exclude each other")
    changed = machine_pb2.Machine(name=machine)
    paths = []
    attachment = _attachment(port, vlan, vni)
    if attachment is not None:
        changed.attachment.CopyFrom(attachment)
        paths += [f"attachment.{part}" for part in ("port", "vlan", "vni")]
    if additional or none:
        changed.attachment.additional_addresses.extend(additional_addresses.addresses(additional))
        paths.append("attachment.additional_addresses")
    if mac is not None:
        changed.mac_address = mac
        paths.append("mac_address")
    if hostname is not None:
        changed.hostname = hostname
        paths.append("hostname")
    if (rates := limits.limits(public_rate, storage_rate)) is not None:
        changed.limits.CopyFrom(rates)
        paths += limits.paths(public_rate, storage_rate)
    if not paths:
        raise click.UsageError("nothing to change: give --port, --additional-address, --mac, --hostname or a rate")
    request = machine_pb2.UpdateMachineRequest(machine=changed, update_mask=FieldMask(paths=paths), wait_live=wait)
    _show(session, session.machines.UpdateMachine(request, timeout=session.timeout))


@machines.command(epilog="Example: sluicectl machines delete web pc1")
@click.argument("machine", nargs=-1, required=True, type=names.MACHINES)
@pass_session
def delete(session: CliSession, machine: tuple[str, ...]) -> None:
    """Delete machines; stops at the first refusal."""
    requests = (machine_pb2.DeleteMachineRequest(name=name) for name in machine)
    deletion.delete(session, session.machines.DeleteMachine, requests)


@machines.command(epilog="Example: sluicectl machines watch --network office")
@options.of_network
@pass_session
def watch(session: CliSession, network: str) -> None:
    """Show what exists, then every change, until Ctrl-C; JSON is one event a line."""
    request = machine_pb2.WatchMachinesRequest(network=network)
    watching.watch(session, session.machines.WatchMachines, request, "machine", _row)
