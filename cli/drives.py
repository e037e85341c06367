"""`sluicectl drives`."""

from __future__ import annotations

import click

from cli import creation, names, output
from cli.paging import pages
from cli.session import Session, output_option, pass_session
from sluice.v1 import drive_pb2 as pb

_COLUMNS = ("NAME", "NETWORK", "ADDRESS", "TENANT", "STATE", "DETAIL")


def _row(drive: pb.Drive) -> tuple[object, ...]:
    return (names.short(drive.name), names.short(drive.network), drive.address, drive.tenant,
            creation.state_word(drive.status), drive.status.detail)  # fmt: skip


def _show(session: Session, drive: pb.Drive) -> None:
    output.print_one(drive, _COLUMNS, _row, as_json=session.json)


def _full(name: str) -> str:
    return name if name.startswith("drives/") else f"drives/{name}"


@click.group()
def drives() -> None:
    """Shared drives, each of one private network."""


@drives.command("list")
@click.option("--network", default="", shell_complete=names.complete_network, help="Only drives of this network.")
@output_option
@pass_session
def list_(session: Session, network: str) -> None:
    """List drives in order of name."""
    request = pb.ListDrivesRequest(network=network and names.network_name(network))
    found = (drive for page in pages(session.drives.ListDrives, request, session.timeout) for drive in page.drives)
    output.print_list(found, _COLUMNS, _row, "no drives", as_json=session.json)


@drives.command()
@click.argument("name")
@output_option
@pass_session
def show(session: Session, name: str) -> None:
    """Show one drive."""
    _show(session, session.drives.GetDrive(pb.GetDriveRequest(name=_full(name)), timeout=session.timeout))


@drives.command(epilog="Example: sluicectl drives create files --network office --address 10.250.0.10 --wait")
@click.argument("name", required=False, default="", callback=names.not_empty)
@click.option("--network", required=True, shell_complete=names.complete_network, help="Its private network.")
@click.option("--address", required=True, help="Its address in the storage network.")
@creation.wait_options
@output_option
@pass_session
def create(session: Session, name: str, network: str, address: str, wait: bool, request_id: str | None) -> None:
    """Make an address of the storage network reachable from a private network."""
    request = pb.CreateDriveRequest(
        drive_id=names.short(name), drive=pb.Drive(network=names.network_name(network), address=address),
        request_id=creation.new_request_id(request_id), wait_live=wait,
    )  # fmt: skip
    made = creation.create(session.drives.CreateDrive, request, session.timeout)
    _show(session, made)
    if wait:
        creation.require_live([(made.name, made.status)])


@drives.command()
@click.argument("name")
@pass_session
def delete(session: Session, name: str) -> None:
    """Take a drive away from its network."""
    session.drives.DeleteDrive(pb.DeleteDriveRequest(name=_full(name)), timeout=session.timeout)
    click.echo(f"{_full(name)} deleted")
