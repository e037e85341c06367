"""Commands and queries of networks."""

from __future__ import annotations

from agent.cache.records import WAITING, NetworkView
from agent.cache.watch import Watcher
from agent.requests import Idempotency, NetworkSpec, NetworkUpdate
from agent.store.desired_state import DesiredState, check, find, following, remade
from agent.transaction import TransactionBuilder
from agent.validation.objects import network_change, new_network, request_id


class Networks(DesiredState):
    """Networks of the store."""

    def create_network(self, new: NetworkSpec, request: Idempotency, timeout: float) -> NetworkView:
        """Create a network. Raises InvalidArgument, AlreadyExists, ResourceExhausted, Aborted, Unavailable."""
        check([*request_id("request_id", request.request_id), *new_network(new, self.own_prefixes)])

        def plan(transaction: TransactionBuilder) -> NetworkView:
            made = self.made_before(request)
            if made is not None:
                return remade(self.cache.networks, f"networks/{made.names[0]}", made.created_at).view
            network = transaction.create_network(new)
            transaction.answered(request, [network.name])
            return NetworkView(network, WAITING)

        view = self.run(plan, timeout, repeatable=bool(request.request_id))
        with self.cache.lock:
            record = self.cache.networks.get(view.network.name)
            return view if record is None else record.view

    def update_network(self, name: str, change: NetworkUpdate, timeout: float) -> NetworkView:
        """Change a network. Raises InvalidArgument, NotFound, Aborted, Unavailable."""
        check(network_change(change))
        self.run(lambda transaction: transaction.update_network(name, change), timeout)
        return self.network(name)

    def delete_network(self, name: str, timeout: float) -> None:
        """Delete a network. Raises NotFound, InUse, Aborted, Unavailable."""
        self.run(lambda transaction: transaction.delete_network(name), timeout)

    def network(self, name: str) -> NetworkView:
        """One network. Raises NotFound."""
        with self.cache.lock:
            return find(self.cache.networks, f"networks/{name}").view

    def list_networks(self, tenant: str, after: str, count: int) -> list[NetworkView]:
        """At most `count` networks with names above `after`, in order; of one tenant unless it is empty."""
        with self.cache.lock:
            index = self.cache.tenants.get(tenant) if tenant else self.cache.networks
            return [self.cache.networks[name].view for name in following([index], after, count)]

    def wait_network(self, view: NetworkView, timeout: float) -> NetworkView:
        """The network once it is no longer pending, or as it is after `timeout`. Raises NotFound."""
        with self.cache.lock:
            name = f"networks/{view.network.name}"
            record = remade(self.cache.networks, name, view.network.created_at)
            self.await_object(record, record, name, timeout)
            return record.view

    def watch_networks(self, name: str) -> tuple[list[NetworkView], Watcher[NetworkView]]:
        """The networks there are (only `name` unless it is empty) and a stream of changes after them."""

        with self.cache.lock:
            records = self.cache.networks.values() if not name else [self.cache.networks.get(name)]
            watcher = self.hub.add(NetworkView, lambda view: name in ("", view.network.name))
            return [record.view for record in records if record is not None], watcher
