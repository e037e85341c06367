"""`sluicectl drives`."""

from __future__ import annotations

import click

from cli import creation, deletion, names, options, output, watching
from cli.command import group, pass_session
from cli.session import CliSession
from sluice.v1 import drive_pb2 as pb

_COLUMNS = ("NAME", "NETWORK", "ADDRESS", "TENANT", "STATE", "DETAIL")


def _row(drive: pb.Drive) -> tuple[object, ...]:
    return (names.short(drive.name), names.short(drive.network), drive.address, drive.tenant,
            creation.state_word(drive.status), drive.status.detail)  # fmt: skip


def _show(session: CliSession, drive: pb.Drive) -> None:
    output.print_one(drive, _COLUMNS, _row, as_json=session.json)


@group()
def drives() -> None:
    """Shared drives, each of one private network."""


@drives.command("list", epilog="Example: sluicectl drives list --network office")
@options.of_network
@options.of_tenant
@pass_session
def list_(session: CliSession, network: str, tenant: str) -> None:
    """List drives in order of name."""
    found = names.DRIVES.all(session, network=network, tenant=tenant)
    output.print_list(found, _COLUMNS, _row, "no drives", as_json=session.json)


@drives.command(epilog="Example: sluicectl drives show files --wait")
@click.argument("drive", type=names.DRIVES)
@options.wait
@pass_session
def show(session: CliSession, drive: str, wait: bool) -> None:
    """Show one drive."""
    request = pb.GetDriveRequest(name=drive, wait_live=wait)
    _show(session, session.drives.GetDrive(request, timeout=session.timeout))


@drives.command(epilog="Example: sluicectl drives create files --network office --address 10.250.0.10 --wait")
@click.argument("drive", required=False, default="", callback=names.not_empty)
@click.option("--network", required=True, type=names.NETWORKS, help="Its private network.")
@click.option("--address", required=True, help="Its address in the storage network.")
@creation.wait_options
@pass_session
def create(session: CliSession, drive: str, network: str, address: str, wait: bool, request_id: str | None) -> None:
    """Make an address of the storage network reachable from a private network."""
    request = pb.CreateDriveRequest(
        drive_id=names.short(drive), drive=pb.Drive(network=network, address=address),
        request_id=creation.new_request_id(request_id), wait_live=wait,
    )  # fmt: skip
    made = creation.create(session.drives.CreateDrive, request, session.timeout)
    _show(session, made)
    if wait:
        creation.require_live([made])


@drives.command(epilog="Example: sluicectl drives delete files archive")
@click.argument("drive", nargs=-1, required=True, type=names.DRIVES)
@pass_session
def delete(session: CliSession, drive: tuple[str, ...]) -> None:
    """Take drives away from their networks; stops at the first refusal."""
    deletion.delete(session, session.drives.DeleteDrive, (pb.DeleteDriveRequest(name=name) for name in drive))


@drives.command(epilog="Example: sluicectl drives watch --network office")
@options.of_network
@pass_session
def watch(session: CliSession, network: str) -> None:
    """Show what exists, then every change, until Ctrl-C; JSON is one event a line."""
    watching.watch(session, session.drives.WatchDrives, pb.WatchDrivesRequest(network=network), "drive", _row)
