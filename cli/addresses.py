"""`sluicectl addresses`."""

from __future__ import annotations

import click
from google.protobuf.field_mask_pb2 import FieldMask

from cli import creation, names, output
from cli.paging import pages
from cli.session import Session, output_option, pass_session
from sluice.v1 import public_address_pb2 as pb

_COLUMNS = ("NAME", "ADDRESS", "MACHINE", "TENANT", "STATE", "DETAIL")


def _row(address: pb.PublicAddress) -> tuple[object, ...]:
    status = address.status
    return (names.short(address.name), address.address, names.short(address.machine), address.tenant,
            creation.state_word(status), status.detail)  # fmt: skip


def _show(session: Session, address: pb.PublicAddress) -> None:
    output.print_one(address, _COLUMNS, _row, as_json=session.json)


def _full(name: str) -> str:
    return name if name.startswith("publicAddresses/") else f"publicAddresses/{name}"


@click.group()
def addresses() -> None:
    """Public addresses, each for one machine."""


@addresses.command("list")
@click.option("--tenant", default="", help="Only those of this tenant.")
@output_option
@pass_session
def list_(session: Session, tenant: str) -> None:
    """List public addresses in order of name."""
    lists = pages(session.addresses.ListPublicAddresses, pb.ListPublicAddressesRequest(tenant=tenant), session.timeout)
    found = (address for page in lists for address in page.public_addresses)
    output.print_list(found, _COLUMNS, _row, "no public addresses", as_json=session.json)


@addresses.command()
@click.argument("name")
@output_option
@pass_session
def show(session: Session, name: str) -> None:
    """Show one public address."""
    request = pb.GetPublicAddressRequest(name=_full(name))
    _show(session, session.addresses.GetPublicAddress(request, timeout=session.timeout))


@addresses.command(epilog="Example: sluicectl addresses create www --machine web --wait")
@click.argument("name", required=False, default="", callback=names.not_empty)
@click.option("--machine", default="", shell_complete=names.complete_machine, help="Machine it stands for.")
@click.option("--address", default="", help="Address wanted.  [default: the lowest free one]")
@click.option("--tenant", default="", help="Customer; free text.")
@creation.wait_options
@output_option
@pass_session
def create(
    session: Session, name: str, machine: str, address: str, tenant: str, wait: bool, request_id: str | None
) -> None:
    """Take an address from the pool, for a machine if one is named."""
    wanted = pb.PublicAddress(address=address, machine=machine and names.machine_name(machine), tenant=tenant)
    request = pb.CreatePublicAddressRequest(
        public_address_id=names.short(name), public_address=wanted,
        request_id=creation.new_request_id(request_id), wait_live=wait,
    )  # fmt: skip
    made = creation.create(session.addresses.CreatePublicAddress, request, session.timeout)
    _show(session, made)
    if wait:
        creation.require_live([(made.name, made.status)])


def _assign(session: Session, name: str, machine: str) -> None:
    request = pb.UpdatePublicAddressRequest(
        public_address=pb.PublicAddress(name=_full(name), machine=machine),
        update_mask=FieldMask(paths=["machine"]),
        wait_live=True,
    )
    _show(session, session.addresses.UpdatePublicAddress(request, timeout=session.timeout))


@addresses.command(epilog="Example: sluicectl addresses assign www web2")
@click.argument("name")
@click.argument("machine", shell_complete=names.complete_machine)
@output_option
@pass_session
def assign(session: Session, name: str, machine: str) -> None:
    """Give the address to a machine; from another one it moves at once, open connections included."""
    _assign(session, name, names.machine_name(machine))


@addresses.command()
@click.argument("name")
@output_option
@pass_session
def unassign(session: Session, name: str) -> None:
    """Take the address away from its machine and keep it."""
    _assign(session, name, "")


@addresses.command()
@click.argument("name")
@pass_session
def delete(session: Session, name: str) -> None:
    """Release the address, also while a machine has it."""
    session.addresses.DeletePublicAddress(pb.DeletePublicAddressRequest(name=_full(name)), timeout=session.timeout)
    click.echo(f"{_full(name)} deleted")
