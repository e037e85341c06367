"""Commands and queries of interconnects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent.cache.learned_routes import Position
from agent.cache.records import WAITING, InterconnectRecord, InterconnectView
from agent.cache.watch import Watcher
from agent.requests import Idempotency, InterconnectSpec, InterconnectUpdate
from agent.store.desired_state import check, find, following, remade
from agent.store.encryption import EncryptedStore
from agent.transaction import TransactionBuilder
from agent.validation.interconnects import FIELD, new_interconnect
from agent.validation.objects import port, request_id
from state.interconnect import Route


class Interconnects(EncryptedStore):
    """Interconnects of the store."""

    def create_interconnect(self, new: InterconnectSpec, request: Idempotency, timeout: float) -> InterconnectView:
        """Add an interconnect.

        Raises InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, ResourceExhausted, Aborted, Unavailable.
        """
        new = replace(new, local_as=new.local_as or self.config.bgp_as)
        check([*request_id("request_id", request.request_id), *new_interconnect(new, self.own_ports)])

        def plan(transaction: TransactionBuilder) -> InterconnectView:
            made = self.made_before(request)
            if made is not None:
                name = f"interconnects/{made.names[0]}"
                return remade(self.cache.interconnects.by_name, name, made.created_at).view
            value, of = transaction.create_interconnect(new, lambda: self.seal)
            transaction.answered(request, [value.name])
            shown = replace(value, password="", revision=0)
            names = ("", "") if of is None else (of.network.name, of.network.tenant)
            return InterconnectView(shown, *names, bool(value.password), WAITING)

        view = self.run(plan, timeout, repeatable=bool(request.request_id))
        with self.cache.lock:
            record = self.cache.interconnects.by_name.get(view.interconnect.name)
            return view if record is None else record.view

    def update_interconnect(self, name: str, change: InterconnectUpdate, timeout: float) -> InterconnectView:
        """Change an interconnect.

        Raises InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, Aborted, Unavailable.
        """
        if change.port is not None:
            check(list(port(f"{FIELD}.port", change.port, self.own_ports)))
        if change.local_as == 0:
            change = replace(change, local_as=self.config.bgp_as)
        self.run(lambda transaction: transaction.update_interconnect(name, change, lambda: self.seal), timeout)
        return self.interconnect(name)

    def delete_interconnect(self, name: str, timeout: float) -> None:
        """Delete an interconnect. Raises NotFound, Aborted, Unavailable."""
        self.run(lambda transaction: transaction.delete_interconnect(name), timeout)

    def interconnect(self, name: str) -> InterconnectView:
        """One interconnect. Raises NotFound."""
        with self.cache.lock:
            return self._interconnect(name).view

    def _interconnect(self, name: str) -> InterconnectRecord:
        return find(self.cache.interconnects.by_name, f"interconnects/{name}")

    def list_interconnects(self, network: str, tenant: str, after: str, count: int) -> list[InterconnectView]:
        """At most `count` interconnects with names above `after`, in order; of one network and tenant unless empty.

        Raises NotFound.
        """
        with self.cache.lock:
            every = self.cache.interconnects.by_name
            found = self.of_network(network, tenant, every, lambda record: record.interconnects)
            return [every[name].view for name in following(found, after, count)]

    def list_interconnect_routes(self, name: str, after: Position, count: int, *, refused: bool) -> Sequence[Route]:
        """At most `count` routes above `after` that the peer announces, in order of address, then length.

        Only those that are not accepted if `refused`. Raises NotFound.
        """
        with self.cache.lock:
            routes = self.cache.interconnects.routes(self._interconnect(name))
            return routes.page(after, count, refused=refused)

    def wait_interconnect(self, view: InterconnectView, timeout: float) -> InterconnectView:
        """The interconnect once it is no longer pending, or as it is after `timeout`. Raises NotFound."""
        name = f"interconnects/{view.interconnect.name}"
        with self.cache.lock:
            record = remade(self.cache.interconnects.by_name, name, view.interconnect.created_at)
            self.await_object(record, record.owner, name, timeout)
            return record.view

    def watch_interconnects(self, network: str) -> tuple[list[InterconnectView], Watcher[InterconnectView]]:
        """The interconnects there are (only those of `network` unless it is empty) and a stream of changes after."""
        with self.cache.lock:
            of = self.cache.networks.get(network)
            found = of.interconnects if of is not None else {} if network else self.cache.interconnects.by_name
            watcher = self.hub.add(InterconnectView, lambda view: network in ("", view.network))
            return [record.view for record in found.values()], watcher
