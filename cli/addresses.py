"""`sluicectl addresses`."""

from __future__ import annotations

import click
from google.protobuf.field_mask_pb2 import FieldMask

from cli import creation, deletion, names, options, output, watching
from cli.command import group, pass_session
from cli.session import CliSession
from sluice.v1 import public_address_pb2 as pb

_COLUMNS = ("NAME", "ADDRESS", "MACHINE", "TENANT", "STATE", "DETAIL")


def _row(address: pb.PublicAddress) -> tuple[object, ...]:
    status = address.status
    return (names.short(address.name), address.address, names.short(address.machine), address.tenant,
            creation.state_word(status), status.detail)  # fmt: skip


def _show(session: CliSession, address: pb.PublicAddress) -> None:
    output.print_one(address, _COLUMNS, _row, as_json=session.json)


@group()
def addresses() -> None:
    """Public addresses, each for one machine."""


@addresses.command("list", epilog="Example: sluicectl addresses list --tenant acme")
@options.of_tenant
@pass_session
def list_(session: CliSession, tenant: str) -> None:
    """List public addresses in order of name."""
    found = names.PUBLIC_ADDRESSES.all(session, tenant=tenant)
    output.print_list(found, _COLUMNS, _row, "no public addresses", as_json=session.json)


@addresses.command(epilog="Example: sluicectl addresses show www --wait")
@click.argument("address", type=names.PUBLIC_ADDRESSES)
@options.wait
@pass_session
def show(session: CliSession, address: str, wait: bool) -> None:
    """Show one public address."""
    request = pb.GetPublicAddressRequest(name=address, wait_live=wait)
    _show(session, session.addresses.GetPublicAddress(request, timeout=session.timeout))


@addresses.command(epilog="Example: sluicectl addresses create www --machine web --wait")
@click.argument("name", metavar="[ADDRESS]", required=False, default="", callback=names.not_empty)
@click.option("--machine", default="", type=names.MACHINES, help="Machine it stands for.")
@click.option("--address", default="", help="Address wanted.  [default: the lowest free one]")
@click.option("--tenant", default="", help="Customer; free text.")
@creation.wait_options
@pass_session
def create(
    session: CliSession, name: str, machine: str, address: str, tenant: str, wait: bool, request_id: str | None
) -> None:
    """Take an address from the pool, for a machine if one is named."""
    wanted = pb.PublicAddress(address=address, machine=machine, tenant=tenant)
    request = pb.CreatePublicAddressRequest(
        public_address_id=names.short(name), public_address=wanted,
        request_id=creation.new_request_id(request_id), wait_live=wait,
    )  # fmt: skip
    made = creation.create(session.addresses.CreatePublicAddress, request, session.timeout)
    _show(session, made)
    if wait:
        creation.require_live([made])


def _update(session: CliSession, wanted: pb.PublicAddress, paths: list[str], *, wait: bool) -> None:
    request = pb.UpdatePublicAddressRequest(
        public_address=wanted, update_mask=FieldMask(paths=paths), wait_live=wait
    )  # fmt: skip
    _show(session, session.addresses.UpdatePublicAddress(request, timeout=session.timeout))


@addresses.command("set", epilog="Example: sluicectl addresses set www --tenant acme --machine web2 --wait")
@click.argument("address", type=names.PUBLIC_ADDRESSES)
@click.option("--machine", type=names.MACHINES, help="Machine it stands for; '' is none.")
@click.option("--tenant", help="Customer; free text.")
@options.wait
@pass_session
def set_(session: CliSession, address: str, machine: str | None, tenant: str | None, wait: bool) -> None:
    """Change the machine or the tenant of an address; open connections move with it."""
    wanted = pb.PublicAddress(name=address)
    paths = options.fill(wanted, {"machine": machine, "tenant": tenant}, {"machine": "machine", "tenant": "tenant"})
    if not paths:
        raise click.UsageError("nothing to change: give --machine or --tenant")
    _update(session, wanted, paths, wait=wait)


@addresses.command(epilog="Example: sluicectl addresses assign www web2")
@click.argument("address", type=names.PUBLIC_ADDRESSES)
@click.argument("machine", type=names.MACHINES)
@pass_session
def assign(session: CliSession, address: str, machine: str) -> None:
    """Give the address to a machine; from another one it moves at once, open connections included."""
    _update(session, pb.PublicAddress(name=address, machine=machine), ["machine"], wait=True)


@addresses.command(epilog="Example: sluicectl addresses unassign www")
@click.argument("address", type=names.PUBLIC_ADDRESSES)
@pass_session
def unassign(session: CliSession, address: str) -> None:
    """Take the address away from its machine and keep it."""
    _update(session, pb.PublicAddress(name=address), ["machine"], wait=True)


@addresses.command(epilog="Example: sluicectl addresses delete www shop")
@click.argument("address", nargs=-1, required=True, type=names.PUBLIC_ADDRESSES)
@pass_session
def delete(session: CliSession, address: tuple[str, ...]) -> None:
    """Release addresses, also while machines have them; stops at the first refusal."""
    requests = (pb.DeletePublicAddressRequest(name=name) for name in address)
    deletion.delete(session, session.addresses.DeletePublicAddress, requests)


@addresses.command(epilog="Example: sluicectl addresses watch -o json | jq .publicAddress.machine")
@click.argument("address", required=False, default="", callback=names.not_empty, type=names.PUBLIC_ADDRESSES)
@pass_session
def watch(session: CliSession, address: str) -> None:
    """Show what exists, then every change, until Ctrl-C; JSON is one event a line."""
    request = pb.WatchPublicAddressesRequest(name=address)
    watching.watch(session, session.addresses.WatchPublicAddresses, request, "public_address", _row)
