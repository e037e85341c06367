"""`sluicectl networks`."""

from __future__ import annotations

import click
from google.protobuf.field_mask_pb2 import FieldMask

from cli import creation, deletion, limits, name_service, names, options, output, watching
from cli.command import group, pass_session
from cli.integers import INT32
from cli.session import CliSession
from sluice.v1 import network_pb2

_COLUMNS = ("NAME", "KIND", "TENANT", "PREFIX", ">KEY", "PUBLIC ADDRESS AND PORTS", "STATE", "DETAIL")
_KINDS = {"private": network_pb2.Network.PRIVATE, "isolated": network_pb2.Network.ISOLATED}


def _block(network: network_pb2.Network) -> str:
    block = network.port_block
    return f"{block.address}:{block.first_port}-{block.last_port}" if block.address else ""


def _kind(network: network_pb2.Network) -> str:
    return network_pb2.Network.Kind.Name(network.kind).lower()


def _row(network: network_pb2.Network) -> tuple[object, ...]:
    return (
        names.short(network.name),
        _kind(network),
        network.tenant,
        network.prefix,
        network.key,
        _block(network),
        creation.state_word(network.status),
        network.status.detail,
    )


def _show(session: CliSession, network: network_pb2.Network) -> None:
    if session.json:
        output.print_json(output.to_json(network))
        return
    output.print_fields(
        (
            ("name", names.short(network.name)),
            ("kind", _kind(network)),
            ("tenant", network.tenant),
            ("prefix", network.prefix),
            ("router", network.router_address),
            ("public", _block(network)),
            *name_service.shown(network),
            ("MTU", network.mtu),
            *limits.shown(network.limits),
            ("key", network.key),
            ("state", creation.state_word(network.status)),
            ("detail", network.status.detail),
            ("created", output.moment(network.create_time)),
        )
    )


@group()
def networks() -> None:
    """Tenants' isolated routing domains."""


@networks.command("list", epilog="Example: sluicectl networks list --tenant acme -o json")
@options.of_tenant
@pass_session
def list_(session: CliSession, tenant: str) -> None:
    """List networks in order of name."""
    found = names.NETWORKS.all(session, tenant=tenant)
    output.print_list(found, _COLUMNS, _row, "no networks", as_json=session.json)


@networks.command(epilog="Example: sluicectl networks show office")
@click.argument("network", type=names.NETWORKS)
@options.wait
@pass_session
def show(session: CliSession, network: str, wait: bool) -> None:
    """Show one network."""
    request = network_pb2.GetNetworkRequest(name=network, wait_live=wait)
    _show(session, session.networks.GetNetwork(request, timeout=session.timeout))


@networks.command(
    epilog="Examples: sluicectl networks create office --tenant acme --wait;"
    " sluicectl networks create lab --prefix 10.42.0.0/16 --dns 10.42.0.10"
)
@click.argument("network", required=False, default="", callback=names.not_empty)
@click.option("--kind", type=click.Choice(sorted(_KINDS)), default="private", show_default=True)
@click.option("--tenant", default="", help="Customer; free text.")
@click.option("--prefix", default="", metavar="ADDRESS/16", help="Prefix of a private network.  [default: a free one]")
@name_service.name_options
@click.option("--mtu", type=INT32, default=0, help="Largest IP packet of the machines.  [default: 1500]")
@limits.limit_options
@creation.wait_options
@pass_session
def create(
    session: CliSession,
    network: str,
    kind: str,
    tenant: str,
    prefix: str,
    dns: tuple[str, ...],
    search_domain: str | None,
    forward: tuple[str, ...],
    mtu: int,
    public_rate: int | None,
    storage_rate: int | None,
    wait: bool,
    request_id: str | None,
) -> None:
    """Create a network; without NETWORK the appliance chooses its name."""
    wanted = network_pb2.Network(
        kind=_KINDS[kind],
        tenant=tenant,
        prefix=prefix,
        dns_servers=name_service.resolvers(dns),
        search_domain=search_domain or "",
        dns_forwarding=name_service.forwarding(forward),
        mtu=mtu,
        limits=limits.limits(public_rate, storage_rate),
    )
    request = network_pb2.CreateNetworkRequest(
        network_id=names.short(network),
        network=wanted,
        request_id=creation.new_request_id(request_id),
        wait_live=wait,
    )
    made = creation.create(session.networks.CreateNetwork, request, session.timeout)
    _show(session, made)
    if wait:
        creation.require_live([made])


@networks.command(
    "set",
    epilog="Examples: sluicectl networks set office --public-rate 200000;"
    " sluicectl networks set office --forward corp.example=192.168.50.10,192.168.50.11 --search-domain corp.example",
)
@click.argument("network", type=names.NETWORKS)
@name_service.name_options
@limits.limit_options
@options.wait
@pass_session
def set_(
    session: CliSession,
    network: str,
    dns: tuple[str, ...],
    search_domain: str | None,
    forward: tuple[str, ...],
    public_rate: int | None,
    storage_rate: int | None,
    wait: bool,
) -> None:
    """Change what a network's machines are told of names, and its limits."""
    changed = network_pb2.Network(
        name=network,
        dns_servers=name_service.resolvers(dns),
        search_domain=search_domain or "",
        dns_forwarding=name_service.forwarding(forward),
        limits=limits.limits(public_rate, storage_rate),
    )
    given = {"dns_servers": bool(dns), "search_domain": search_domain is not None, "dns_forwarding": bool(forward)}
    paths = [field for field, set_now in given.items() if set_now] + limits.paths(public_rate, storage_rate)
    if not paths:
        raise click.UsageError("nothing to change: give --dns, --search-domain, --forward or a rate")
    request = network_pb2.UpdateNetworkRequest(network=changed, update_mask=FieldMask(paths=paths), wait_live=wait)
    _show(session, session.networks.UpdateNetwork(request, timeout=session.timeout))


@networks.command(epilog="Example: sluicectl networks delete office lab")
@click.argument("network", nargs=-1, required=True, type=names.NETWORKS)
@pass_session
def delete(session: CliSession, network: tuple[str, ...]) -> None:
    """Delete networks that no machine uses; stops at the first refusal."""
    requests = (network_pb2.DeleteNetworkRequest(name=name) for name in network)
    deletion.delete(session, session.networks.DeleteNetwork, requests)


@networks.command(epilog="Example: sluicectl networks watch -o json | jq .network.status")
@click.argument("network", required=False, default="", callback=names.not_empty, type=names.NETWORKS)
@pass_session
def watch(session: CliSession, network: str) -> None:
    """Show what exists, then every change, until Ctrl-C; JSON is one event a line."""
    request = network_pb2.WatchNetworksRequest(name=network)
    watching.watch(session, session.networks.WatchNetworks, request, "network", _row)
