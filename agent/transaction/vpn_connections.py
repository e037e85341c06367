"""Operations for VPN connections."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

from agent.cache.records import VpnConnectionRecord, VpnGatewayRecord
from agent.errors import AlreadyExists, InvalidArgument, NotFound, ResourceExhausted
from agent.requests import Certificate, VpnConnectionSpec, VpnConnectionUpdate
from agent.transaction.builder import fresh
from agent.transaction.vpn_gateways import VpnGatewayOperations
from agent.validation.certificates import canonical
from agent.validation.objects import wrong
from agent.validation.prefixes import overlap, prefixes_inside, prefixes_outside
from agent.validation.vpn import FIELD, IKE_VERSIONS, MAX_CONNECTIONS, settings
from state import vpn_rows
from state.addresses import is_address
from state.encryption import SecretBox
from state.prefixes import network_prefixes
from state.storage import storage_prefix
from state.vpn import DEFAULT_ESP, DEFAULT_IKE, Authentication, Role, VpnConnection

# Fields whose defaults follow from others: a value equal to its default goes on being the default.
_FOLLOWING = ("local_identity", "remote_identity", "local_prefixes", "ike_proposals", "esp_proposals")
_TEXT_OF_VERSION = {number: text for text, number in IKE_VERSIONS.items()}


class VpnConnectionOperations(VpnGatewayOperations):
    """Creates, changes and deletes VPN connections; `seal` closes what nobody may read."""

    def create_vpn_connection(self, new: VpnConnectionSpec, seal: SecretBox) -> tuple[VpnConnection, VpnGatewayRecord]:
        """Plan a VPN connection; raises NotFound, AlreadyExists, InvalidArgument, ResourceExhausted."""
        name = new.name or fresh("connection", self._cache.vpn.connections)
        if name in self._cache.vpn.connections:
            raise AlreadyExists(f"vpnConnections/{name}", f"vpnConnections/{name} exists already")
        gateway = self._vpn_gateway_named(new.gateway.removeprefix("vpnGateways/"))
        if len(gateway.connections) >= MAX_CONNECTIONS:
            of = f"vpnGateways/{gateway.gateway.name}"
            message = f"{of} has {len(gateway.connections)} connections; a gateway has at most {MAX_CONNECTIONS}"
            raise ResourceExhausted("vpnConnections", message, {"size": str(MAX_CONNECTIONS)})
        # As a network's: above every revision of an earlier one of this name.
        first = VpnConnection(name, "", (), revision=self.revision, created_at=self.now)
        value = self._effective(new, gateway, _proven(first, new.pre_shared_key, new.certificate, seal))
        self._admit_connection(value, gateway)
        self._change(gateway.network)
        self._insert("Vpn_Connection", vpn_rows.connection_row(value, ["uuid", gateway.uuid]))
        return value, gateway

    def update_vpn_connection(self, name: str, change: VpnConnectionUpdate, seal: SecretBox) -> bool:
        """Plan a change of a VPN connection; False when there is none.

        Raises NotFound, AlreadyExists, InvalidArgument.
        """
        record = self._vpn_connection_named(name)
        before, gateway = record.connection, record.gateway
        given = {f.name: getattr(change, f.name) for f in dataclasses.fields(change)}
        proof = given.pop("pre_shared_key") or "", given.pop("certificate")
        asked = replace(self._asked(record), **{field: value for field, value in given.items() if value is not None})
        violations = list(settings(asked))
        if violations:
            raise InvalidArgument(violations)
        proven = _proven(before, *proof, seal) if any(proof) else before
        after = self._effective(asked, gateway, proven)
        if after == before:
            return False
        self._admit_connection(after, gateway)
        self._change(gateway.network)
        row = vpn_rows.connection_row(replace(after, revision=before.revision + 1), ["uuid", gateway.uuid])
        fixed = ("name", "gateway", "created_at")
        self._update("Vpn_Connection", record.uuid, {column: row[column] for column in row if column not in fixed})
        return True

    def delete_vpn_connection(self, name: str) -> None:
        """Plan the end of a VPN connection; raises NotFound."""
        record = self._vpn_connection_named(name)
        self._change(record.gateway.network)
        self._delete("Vpn_Connection", record.uuid)

    def _asked(self, record: VpnConnectionRecord) -> VpnConnectionSpec:
        """The request that would make the connection as it is, what is the default left out, and no proof."""
        value = record.connection
        defaults = self._defaults(value, record.gateway)
        chosen = {field: getattr(value, field) for field in _FOLLOWING if getattr(value, field) != defaults[field]}
        return VpnConnectionSpec(
            name=value.name,
            gateway=f"vpnGateways/{record.gateway.gateway.name}",
            peer=value.peer,
            remote_prefixes=value.remote_prefixes,
            ike_version=_TEXT_OF_VERSION[value.ike_version],
            role=value.role.name,
            allow_weak=value.allow_weak,
            dpd_seconds=value.dpd_seconds,
            ike_seconds=value.ike_seconds,
            child_seconds=value.child_seconds,
            **chosen,
        )

    def _effective(self, asked: VpnConnectionSpec, gateway: VpnGatewayRecord, proven: VpnConnection) -> VpnConnection:
        """The connection that was asked for, defaults written out, with the proof of `proven`."""
        standard = VpnConnection("", "", ())
        value = replace(
            proven,
            peer=asked.peer,
            remote_prefixes=asked.remote_prefixes,
            peer_addresses=(asked.peer,) if is_address(asked.peer) else (),
            role=Role[asked.role],
            ike_version=IKE_VERSIONS[asked.ike_version],
            allow_weak=asked.allow_weak,
            dpd_seconds=asked.dpd_seconds or standard.dpd_seconds,
            ike_seconds=asked.ike_seconds or standard.ike_seconds,
            child_seconds=asked.child_seconds or standard.child_seconds,
        )
        defaults = self._defaults(value, gateway)
        return replace(value, **{field: getattr(asked, field) or defaults[field] for field in _FOLLOWING})

    def _defaults(self, value: VpnConnection, gateway: VpnGatewayRecord) -> dict[str, Any]:
        """The defaults of a connection of this peer, version and proof."""
        by_key = value.authentication is Authentication.PRE_SHARED_KEY
        return {
            "local_identity": gateway.gateway.address if by_key else "",
            "remote_identity": value.peer,
            "local_prefixes": self._own(gateway),
            "ike_proposals": DEFAULT_IKE[value.ike_version],
            "esp_proposals": DEFAULT_ESP[value.ike_version],
        }

    def _own(self, gateway: VpnGatewayRecord) -> tuple[str, ...]:
        """What a peer may reach: the network's prefix, and the storage network's where there is one."""
        prefix, storage = gateway.network.network.prefix, self._appliance.storage
        # A network that is older than the storage network may have its addresses.
        if storage is None or overlap(storage_prefix(storage), prefix):
            return (prefix,)
        return prefix, storage_prefix(storage)

    def _admit_connection(self, value: VpnConnection, gateway: VpnGatewayRecord) -> None:
        """Check a connection against its network, the appliance and its neighbours.

        Raises InvalidArgument, AlreadyExists.
        """
        network, field = gateway.network.network, f"{FIELD}.remote_prefixes"
        violations = list(prefixes_inside(f"{FIELD}.local_prefixes", value.local_prefixes, self._own(gateway)))
        own = [(network.prefix, f"the prefix of networks/{network.name}"), *network_prefixes(self._appliance)]
        violations += prefixes_outside(field, value.remote_prefixes, own)
        if value.peer == gateway.gateway.address:
            violations.append(wrong(f"{FIELD}.peer", value.peer, "an address other than the gateway's own"))
        if violations:
            raise InvalidArgument(violations)
        for record in gateway.connections.values():
            other, owner = record.connection, f"vpnConnections/{record.connection.name}"
            if other.name == value.name:
                continue
            for prefix in value.remote_prefixes:
                for taken in other.remote_prefixes:
                    if overlap(prefix, taken):
                        raise AlreadyExists(owner, f"{field}: {prefix} overlaps {taken}, a remote prefix of {owner}")
            if (other.peer, other.remote_identity) == (value.peer, value.remote_identity):
                to = f"peer {value.peer!r} with remote_identity {value.remote_identity!r}"
                raise AlreadyExists(
                    owner, f"{owner} is to {to} already; connections of a gateway differ in one of them"
                )

    def _vpn_connection_named(self, name: str) -> VpnConnectionRecord:
        record = self._cache.vpn.connections.get(name)
        if record is None:
            raise NotFound(f"vpnConnections/{name}", f"vpnConnections/{name} does not exist")
        return record


def _proven(
    before: VpnConnection, pre_shared_key: str, certificate: Certificate | None, seal: SecretBox
) -> VpnConnection:
    """The connection with this proof in place of its own; a secret that is the same stays sealed as it was."""
    if certificate is None:
        method, secret, written = Authentication.PRE_SHARED_KEY, pre_shared_key, Certificate()
    else:
        written = canonical(certificate)
        method, secret = Authentication.CERTIFICATE, written.private_key
    return replace(
        before,
        authentication=method,
        certificate=written.chain,
        ca_certificates=written.authorities,
        secret=before.secret if seal.holds(before.secret, secret) else seal.seal(secret),
    )
