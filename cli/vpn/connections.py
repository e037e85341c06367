"""`sluicectl vpn connections`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
from google.protobuf.field_mask_pb2 import FieldMask

from cli import creation, deletion, names, options, output, watching
from cli.command import group, pass_session
from cli.establishment import Establishment
from cli.session import CliSession
from cli.vpn import credentials
from cli.vpn.options import connection_of, connection_options
from sluice.v1 import vpn_connection_pb2 as pb

_COLUMNS = ("NAME", "GATEWAY", "PEER", "REMOTE PREFIXES", "STATE", "TUNNEL", "SINCE", "LAST ERROR")


def tunnel_word(tunnel: pb.VpnTunnel) -> str:
    """The state of a tunnel in lower case; empty before anything was seen of it."""
    return pb.VpnTunnel.State.Name(tunnel.state).lower() if tunnel.state else ""


def _peer(connection: pb.VpnConnection) -> str:
    return connection.peer or f"any ({connection.remote_identity})"


def _row(connection: pb.VpnConnection) -> tuple[object, ...]:
    tunnel = connection.tunnel
    return (
        names.short(connection.name),
        names.short(connection.gateway),
        _peer(connection),
        ", ".join(connection.remote_prefixes),
        creation.state_word(connection.status),
        tunnel_word(tunnel),
        output.moment(tunnel.since_time),
        tunnel.detail if tunnel.state == pb.VpnTunnel.ESTABLISHED else tunnel.last_error or tunnel.detail,
    )


def _show(session: CliSession, connection: pb.VpnConnection) -> None:
    if session.json:
        output.print_json(output.to_json(connection))
        return
    tunnel = connection.tunnel
    authentication = "certificate" if connection.HasField("certificate") else "pre-shared key"
    output.print_fields(
        (
            ("name", names.short(connection.name)),
            ("gateway", names.short(connection.gateway)),
            ("tenant", connection.tenant),
            ("peer", _peer(connection)),
            ("local identity", connection.local_identity),
            ("remote identity", connection.remote_identity),
            ("authentication", authentication),
            ("local prefixes", ", ".join(connection.local_prefixes)),
            ("remote prefixes", ", ".join(connection.remote_prefixes)),
            ("IKE", f"version {2 if connection.ike_version != pb.VpnConnection.IKE_V1 else 1}"),
            ("opened by", "the peer" if connection.role == pb.VpnConnection.RESPONDER else "the gateway"),
            ("IKE proposals", ", ".join(connection.ike_proposals)),
            ("ESP proposals", ", ".join(connection.esp_proposals)),
            ("weak algorithms", "allowed" if connection.allow_weak_algorithms else ""),
            ("asked if alive", f"after {connection.dpd_seconds} s of silence"),
            ("IKE lifetime", f"{connection.ike_lifetime_seconds} s"),
            ("ESP lifetime", f"{connection.child_lifetime_seconds} s"),
            ("state", creation.state_word(connection.status)),
            ("detail", connection.status.detail),
            ("tunnel", tunnel_word(tunnel)),
            ("tunnel detail", tunnel.detail),
            ("no tunnel for", ", ".join(f"{one.local_prefix} to {one.remote_prefix}" for one in tunnel.missing_pairs)),
            ("since", output.moment(tunnel.since_time)),
            ("last error", tunnel.last_error),
            ("last error at", output.moment(tunnel.last_error_time)),
            ("peer address", tunnel.peer_address),
            ("IKE in use", tunnel.ike_proposal),
            ("ESP in use", tunnel.esp_proposal),
            ("from the peer", f"{tunnel.bytes_in} bytes, {tunnel.packets_in} packets"),
            ("to the peer", f"{tunnel.bytes_out} bytes, {tunnel.packets_out} packets"),
            ("created", output.moment(connection.create_time)),
        )
    )


def _watch_gateway(session: CliSession, connection: pb.VpnConnection, seconds: float) -> Iterable[Any]:
    watched = pb.WatchVpnConnectionsRequest(gateway=connection.gateway)
    return session.vpn_connections.WatchVpnConnections(watched, timeout=seconds)


_TUNNEL = Establishment(
    what="tunnel",
    watch=_watch_gateway,
    of=lambda event: event.vpn_connection,
    established=lambda seen: seen.tunnel.state == pb.VpnTunnel.ESTABLISHED,
    why=lambda seen: seen.tunnel.last_error or seen.tunnel.detail,
)


def _uncounted(connection: pb.VpnConnection) -> pb.VpnConnection:
    """The connection without its counters, which alone make no event."""
    found = pb.VpnConnection()
    found.CopyFrom(connection)
    for counter in ("bytes_in", "bytes_out", "packets_in", "packets_out"):
        found.tunnel.ClearField(counter)
    return found


@group()
def connections() -> None:
    """VPN connections, each an IPsec tunnel of a VPN gateway to one peer."""


@connections.command("list", epilog="Example: sluicectl vpn connections list --gateway head")
@options.of_gateway
@options.of_tenant
@pass_session
def list_(session: CliSession, gateway: str, tenant: str) -> None:
    """List VPN connections in order of name."""
    found = names.VPN_CONNECTIONS.all(session, gateway=gateway, tenant=tenant)
    output.print_list(found, _COLUMNS, _row, "no VPN connections", as_json=session.json)


@connections.command(epilog="Example: sluicectl vpn connections show berlin")
@click.argument("connection", type=names.VPN_CONNECTIONS)
@options.wait
@pass_session
def show(session: CliSession, connection: str, wait: bool) -> None:
    """Show one VPN connection, its tunnel and what passed through it."""
    request = pb.GetVpnConnectionRequest(name=connection, wait_live=wait)
    _show(session, session.vpn_connections.GetVpnConnection(request, timeout=session.timeout))


@connections.command(
    epilog="Examples: sluicectl vpn connections create berlin --gateway head --peer 198.51.100.7"
    " --remote-prefix 192.168.10.0/24 --psk-file key --wait-established 10;"
    " sluicectl vpn connections create berlin --gateway head --peer vpn.example.com --remote-prefix 192.168.10.0/24"
    " --certificate head.pem --private-key head.key --ca ca.pem"
)
@click.argument("connection", required=False, default="", callback=names.not_empty)
@click.option("--gateway", required=True, type=names.VPN_GATEWAYS, help="Its VPN gateway.")
@connection_options
@creation.wait_options
@_TUNNEL.option
@pass_session
def create(
    session: CliSession,
    /,
    connection: str,
    gateway: str,
    wait: bool,
    request_id: str | None,
    wait_established: float | None,
    **given: Any,
) -> None:
    """Add a connection to a VPN gateway; without CONNECTION the appliance chooses its name.

    The pre-shared key comes from --psk-file, else it is asked for on the
    terminal without echo; it cannot be read back.
    """
    wanted, paths = connection_of(given)
    if "remote_prefixes" not in paths:
        raise click.UsageError("a connection needs at least one --remote-prefix")
    if not {"pre_shared_key", "certificate"} & set(paths):
        wanted.pre_shared_key = credentials.prompted()
    wanted.gateway = names.VPN_GATEWAYS.full(gateway)
    wait = wait or wait_established is not None
    request = pb.CreateVpnConnectionRequest(
        vpn_connection_id=names.short(connection),
        vpn_connection=wanted,
        request_id=creation.new_request_id(request_id),
        wait_live=wait,
    )
    made = creation.create(session.vpn_connections.CreateVpnConnection, request, session.timeout)
    if wait_established is None:
        _show(session, made)
    if wait:
        creation.require_live([made])
    if wait_established is not None:
        _show(session, _TUNNEL.waited(session, made, wait_established))


@connections.command("set", epilog="Example: sluicectl vpn connections set berlin --peer 198.51.100.9 --psk-file -")
@click.argument("connection", type=names.VPN_CONNECTIONS)
@connection_options
@options.wait
@_TUNNEL.option
@pass_session
def set_(session: CliSession, /, connection: str, wait: bool, wait_established: float | None, **given: Any) -> None:
    """Change a connection, which is then opened anew.

    What is not given stays as it is; a list given takes the place of the whole list.
    """
    changed, paths = connection_of(given)
    if not paths:
        raise click.UsageError("nothing to change: pass at least one option, such as --peer or --psk-file")
    changed.name = names.VPN_CONNECTIONS.full(connection)
    request = pb.UpdateVpnConnectionRequest(
        vpn_connection=changed, update_mask=FieldMask(paths=paths), wait_live=wait or wait_established is not None
    )  # fmt: skip
    made = session.vpn_connections.UpdateVpnConnection(request, timeout=session.timeout)
    _show(session, _TUNNEL.waited(session, made, wait_established))


@connections.command(epilog="Example: sluicectl vpn connections delete berlin paris")
@click.argument("connection", nargs=-1, required=True, type=names.VPN_CONNECTIONS)
@pass_session
def delete(session: CliSession, connection: tuple[str, ...]) -> None:
    """Close and delete connections; stops at the first refusal."""
    requests = (pb.DeleteVpnConnectionRequest(name=name) for name in connection)
    deletion.delete(session, session.vpn_connections.DeleteVpnConnection, requests)


@connections.command(epilog="Example: sluicectl vpn connections watch --gateway head")
@options.of_gateway
@pass_session
def watch(session: CliSession, gateway: str) -> None:
    """Show what exists, then every change, until Ctrl-C; JSON is one event a line."""
    request = pb.WatchVpnConnectionsRequest(gateway=gateway)
    watching.watch(session, session.vpn_connections.WatchVpnConnections, request, "vpn_connection", _row, _uncounted)
