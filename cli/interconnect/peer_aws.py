"""The other side as AWS Direct Connect: a script for the AWS CLI, version 2, that makes a private virtual interface.

Settings and limits are those of `aws directconnect create-private-virtual-interface`
and of "Direct Connect quotas" and "BGP-specific settings" in the AWS documentation.
"""

from __future__ import annotations

import json
from typing import Any

from cli.errors import refusal
from cli.interconnect.notes import head, password_to_fill_in
from cli.interconnect.peer_config import LOST_PACKETS, PASSWORD_PLACEHOLDER, BgpPeer

_CONNECTION = "REPLACE_WITH_THE_CONNECTION_ID"
_GATEWAY = "REPLACE_WITH_THE_GATEWAY_ID"
_MOST_ROUTES = 100
_SHORTEST_BFD = 300
# The greatest number that `asn` takes; greater ones have a field of their own.
_LONGEST_ASN = 2**31 - 1


def configuration(side: BgpPeer) -> str:
    """A script for bash. Raises errors.Failure naming what AWS cannot do."""
    _refuse(side)
    fill = [
        *password_to_fill_in(side),
        f"{_CONNECTION}: your Direct Connect connection, dxcon-…",
        f"{_GATEWAY}: your Direct Connect gateway; for a virtual private gateway use virtualGatewayId",
    ]
    lines = [
        "#!/bin/bash",
        *head("#", "AWS", side, fill, _notes(side)),
        "set -euo pipefail",
        "",
        "# The settings come from stdin: an argument would show the password in the list of processes.",
        f"aws directconnect create-private-virtual-interface --connection-id {_CONNECTION} \\",
        "  --new-private-virtual-interface file:///dev/stdin --query virtualInterfaceId --output text <<'SETTINGS'",
        json.dumps(_settings(side), indent=2),
        "SETTINGS",
    ]
    return "\n".join(lines) + "\n"


def _refuse(side: BgpPeer) -> None:
    if side.peering:
        raise refusal("kind", "is PEERING; a private virtual interface of AWS can be DIRECT_CONNECT only")
    if not side.vlan:
        raise refusal("vlan", "is 0; a virtual interface of AWS has a VLAN, 1 to 4094")
    if not side.password:
        raise refusal("password", "is empty; AWS makes one of its own then, which the appliance would not know")
    if len(side.announced) > _MOST_ROUTES:
        raise refusal(
            "announce_prefixes",
            f"are {len(side.announced)} prefixes; AWS closes the session above {_MOST_ROUTES}: name fewer of them",
        )


def _notes(side: BgpPeer) -> list[str]:
    notes = [
        f"The gateway must be in AS {side.own_as} (its Amazon side ASN), and announce prefixes that are accepted.",
        "AWS takes passwords of 6 to 80 characters without quotes.",
        f"AWS closes the session when it is told more than {_MOST_ROUTES} prefixes.",
    ]
    if side.bfd and side.bfd < _SHORTEST_BFD:
        notes.append(
            f"AWS sends BFD packets each {_SHORTEST_BFD} ms at the quickest: a dead session is noticed after"
            f" {LOST_PACKETS * _SHORTEST_BFD} ms."
        )
    return notes


def _settings(side: BgpPeer) -> dict[str, Any]:
    link = side.own_address.network.prefixlen
    return {
        "virtualInterfaceName": side.label,
        "vlan": side.vlan,
        # In AWS's words the customer is the side of the appliance.
        "asn" if side.appliance_as <= _LONGEST_ASN else "asnLong": side.appliance_as,
        "authKey": PASSWORD_PLACEHOLDER,
        "amazonAddress": str(side.own_address),
        "customerAddress": f"{side.appliance_address}/{link}",
        "addressFamily": "ipv4",
        "directConnectGatewayId": _GATEWAY,
    }
