"""`sluicectl flows` and `sluicectl drops`: what the bridge does, in the tenant's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import grpc

from cli import names, output, switch
from cli.command import command, pass_session
from cli.session import CliSession
from controller import explain
from controller.pipeline.registry import APPLIANCE_KEY
from sluice.v1 import network_pb2

_APPLIANCE = "(appliance)"


def network_key(session: CliSession, network: str) -> int:
    """The key of a network. Raises grpc.RpcError."""
    request = network_pb2.GetNetworkRequest(name=network)
    return session.networks.GetNetwork(request, timeout=session.timeout).key


def _flow_json(record: explain.FlowRecord) -> dict[str, Any]:
    why = record.reason
    return {
        "networkKey": record.key,
        "feature": record.feature,
        "table": record.table_name,
        "tableNumber": record.table.number if record.table else None,
        "priority": record.priority,
        "packets": record.packets,
        "bytes": record.bytes,
        "match": record.match,
        "actions": record.actions,
        "dropReason": why.word if why else "",
    }


@command(
    epilog="Examples: sluicectl flows office; sluicectl flows --appliance;"
    " sluicectl flows office -o json | jq '.[] | select(.table==\"snat\")'"
)
@click.argument("network", required=False, callback=names.not_empty, type=names.NETWORKS)
@click.option("--appliance", is_flag=True, help="The flows that serve every network.")
@click.option("--key", type=click.IntRange(0, 0xFFFF), help="By network key; works without the API.")
@click.option("--raw", is_flag=True, help="As ovs-ofctl prints them.")
@pass_session
def flows(session: CliSession, network: str | None, appliance: bool, key: int | None, raw: bool) -> None:
    """Show the flows of one network as the bridge holds them.

    Sorted as packets meet them: by table, then by priority. The network key
    is left out of the match, since every flow shown has the same.
    """
    if (network is not None) + appliance + (key is not None) != 1:
        raise click.UsageError("give one of NETWORK, --appliance and --key")
    if appliance:
        key = APPLIANCE_KEY
    elif network is not None:
        key = network_key(session, network)
    assert key is not None
    text = switch.dump_flows(session, explain.cookie_filter(key))
    found = explain.parse_dump(text)
    if session.json:
        output.print_json([_flow_json(record) for record in found])
    elif raw:
        click.echo(text, nl=False)
    else:
        columns = ("TABLE", "FEATURE", ">PRIORITY", ">PACKETS", "MATCH", "ACTIONS")
        rows = (
            (r.table_name, r.feature, r.priority, r.packets, explain.readable_match(r), explain.readable_actions(r))
            for r in found
        )
        output.print_table(columns, rows, "no flows on the bridge")


def _names_by_key(session: CliSession) -> Mapping[int, str]:
    try:
        return {network.key: network.name for network in names.NETWORKS.all(session)}
    except grpc.RpcError:
        click.echo(f"note: the API at {session.api} does not answer; networks are shown by key", err=True)
        return {}


@command(epilog="Examples: sluicectl drops; sluicectl drops office --all; sluicectl drops -o json")
@click.argument("network", required=False, callback=names.not_empty, type=names.NETWORKS)
@click.option("--all", "everything", is_flag=True, help="Also reasons that have dropped nothing.")
@pass_session
def drops(session: CliSession, network: str | None, everything: bool) -> None:
    """Show what was dropped or refused, per network and reason.

    Counters begin when a flow is installed. What belongs to no network, or is
    dropped by a flow that serves all of them, is counted for `(appliance)`.
    """
    if network is not None:
        key = network_key(session, network)
        named: Mapping[int, str] = {key: network}
        text = switch.dump_flows(session, explain.cookie_filter(key))
    else:
        named = _names_by_key(session)
        text = switch.dump_flows(session)
    lost = explain.drops(explain.parse_dump(text), explain.parse_meters(switch.meter_stats(session)), refused=True)
    found = [drop for drop in lost if drop.packets or everything]
    if session.json:
        output.print_json([_drop_json(drop, named) for drop in found])
        return
    columns = ("NETWORK", "TABLE", "REASON", ">PACKETS", ">BYTES", "MEANING")
    rows = ((_owner(d, named), d.table, d.reason.word, d.packets, d.bytes, d.reason.sentence) for d in found)
    output.print_table(columns, rows, "nothing was dropped")


def _owner(drop: explain.Drop, named: Mapping[int, str]) -> str:
    if drop.key == APPLIANCE_KEY:
        return _APPLIANCE
    return names.short(named.get(drop.key, f"key {drop.key}"))


def _drop_json(drop: explain.Drop, named: Mapping[int, str]) -> dict[str, Any]:
    return {
        "network": named.get(drop.key, ""),
        "networkKey": drop.key,
        "table": drop.table,
        "feature": drop.feature,
        "reason": drop.reason.word,
        "meaning": drop.reason.sentence,
        "packets": drop.packets,
        "bytes": drop.bytes,
    }
