"""Commands and queries of VPN connections."""

from __future__ import annotations

from dataclasses import replace

from agent.cache.records import WAITING, VpnConnectionRecord, VpnConnectionView
from agent.cache.watch import Watcher
from agent.requests import Idempotency, VpnConnectionSpec, VpnConnectionUpdate
from agent.store.desired_state import Index, check, find, following, remade
from agent.store.encryption import EncryptedStore
from agent.transaction import TransactionBuilder
from agent.validation.objects import request_id
from agent.validation.vpn import new_vpn_connection, proof
from state.encryption import EncryptionError
from state.vpn import Authentication


class VpnConnections(EncryptedStore):
    """VPN connections of the store."""

    def create_vpn_connection(self, new: VpnConnectionSpec, request: Idempotency, timeout: float) -> VpnConnectionView:
        """Add a connection to a VPN gateway.

        Raises InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, ResourceExhausted, Aborted, Unavailable.
        """
        check([*request_id("request_id", request.request_id), *new_vpn_connection(new, self.clock.now())])

        def plan(transaction: TransactionBuilder) -> VpnConnectionView:
            made = self.made_before(request)
            if made is not None:
                return remade(self.cache.vpn.connections, f"vpnConnections/{made.names[0]}", made.created_at).view
            value, gateway = transaction.create_vpn_connection(new, self.seal)
            transaction.answered(request, [value.name])
            shown = replace(value, secret="", revision=0)
            return VpnConnectionView(shown, gateway.gateway.name, gateway.network.network.tenant, WAITING)

        view = self.run(plan, timeout, repeatable=bool(request.request_id))
        with self.cache.lock:
            record = self.cache.vpn.connections.get(view.connection.name)
            return view if record is None else record.view

    def update_vpn_connection(self, name: str, change: VpnConnectionUpdate, timeout: float) -> VpnConnectionView:
        """Change a connection.

        Raises InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, Aborted, Unavailable.
        """
        if change.pre_shared_key is not None or change.certificate is not None:
            change = self._with_private_key(name, change)
            check(list(proof(change.pre_shared_key or "", change.certificate, self.clock.now())))
        self.run(lambda transaction: transaction.update_vpn_connection(name, change, self.seal), timeout)
        return self.vpn_connection(name)

    def _with_private_key(self, name: str, change: VpnConnectionUpdate) -> VpnConnectionUpdate:
        """The change with the private key there is, where a client brings a certificate without one."""
        if change.certificate is None or change.certificate.private_key:
            return change
        with self.cache.lock:
            present = self._found(name).connection
        if present.authentication is not Authentication.CERTIFICATE:
            return change
        try:
            private_key = self.seal.open(present.secret)
        except EncryptionError:
            return change
        return replace(change, certificate=replace(change.certificate, private_key=private_key))

    def delete_vpn_connection(self, name: str, timeout: float) -> None:
        """Delete a connection. Raises NotFound, Aborted, Unavailable."""
        self.run(lambda transaction: transaction.delete_vpn_connection(name), timeout)

    def vpn_connection(self, name: str) -> VpnConnectionView:
        """One connection. Raises NotFound."""
        with self.cache.lock:
            return self._found(name).view

    def _found(self, name: str) -> VpnConnectionRecord:
        return find(self.cache.vpn.connections, f"vpnConnections/{name}")

    def list_vpn_connections(self, gateway: str, tenant: str, after: str, count: int) -> list[VpnConnectionView]:
        """At most `count` connections with names above `after`, in order; of one gateway and tenant unless empty.

        Raises NotFound.
        """
        with self.cache.lock:
            every = self.cache.vpn.connections
            if gateway:
                record = find(self.cache.vpn.gateways, f"vpnGateways/{gateway}")
                found: list[Index | None] = [record.connections if tenant in ("", record.view.tenant) else None]
            else:
                found = self.of_tenant(tenant, every, lambda of: None if of.vpn is None else of.vpn.connections)
            return [every[name].view for name in following(found, after, count)]

    def wait_vpn_connection(self, view: VpnConnectionView, timeout: float) -> VpnConnectionView:
        """The connection once it is no longer pending, or as it is after `timeout`. Raises NotFound."""
        name = f"vpnConnections/{view.connection.name}"
        with self.cache.lock:
            record = remade(self.cache.vpn.connections, name, view.connection.created_at)
            self.await_object(record, record.gateway.network, name, timeout)
            return record.view

    def watch_vpn_connections(self, gateway: str) -> tuple[list[VpnConnectionView], Watcher[VpnConnectionView]]:
        """The connections there are (only those of `gateway` unless it is empty) and a stream of changes after them."""
        with self.cache.lock:
            record = self.cache.vpn.gateways.get(gateway)
            found = record.connections if record is not None else {} if gateway else self.cache.vpn.connections
            watcher = self.hub.add(VpnConnectionView, lambda view: gateway in ("", view.gateway))
            return [connection.view for connection in found.values()], watcher
