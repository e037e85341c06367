"""Commands and queries of machines."""

from __future__ import annotations

import time
from collections.abc import Sequence

from agent.cache.records import WAITING, MachineView
from agent.cache.watch import Watcher
from agent.errors import RequestError, Violation, within
from agent.requests import Idempotency, MachineSpec, MachineUpdate
from agent.store.desired_state import DesiredState, check, find, following, remade
from agent.transaction import TransactionBuilder
from agent.validation.additional import listing_change, new_listing
from agent.validation.objects import MAX_BATCH, machine_change, new_machine, request_id


class Machines(DesiredState):
    """Machines of the store."""

    def create_machines(
        self, requests: Sequence[MachineSpec], request: Idempotency, timeout: float, *, batch: bool
    ) -> list[MachineView]:
        """Create machines, all or none, and answer in the order of `requests`.

        Raises InvalidArgument, NotFound, AlreadyExists, InUse, ResourceExhausted, Aborted,
        Unavailable; of a batch they name the index of the request at fault.
        """
        found = list(request_id("request_id", request.request_id))
        if batch and not 1 <= len(requests) <= MAX_BATCH:
            found.append(Violation("requests", f"requests holds {len(requests)}; allowed: 1 to {MAX_BATCH}"))
        for at, new in enumerate(requests[:MAX_BATCH]):
            violations = [*new_machine(new, self.own_ports, self.own_macs), *new_listing(new, self.own_macs)]
            found += within(violations, f"requests[{at}]") if batch else violations
        check(found)
        # Those that ask for an address come first, so that no other of the batch is given it.
        order = sorted(range(len(requests)), key=lambda at: not requests[at].address)

        def plan(transaction: TransactionBuilder) -> list[MachineView]:
            made = self.made_before(request)
            if made is not None:
                return [remade(self.cache.machines, f"machines/{n}", made.created_at).view for n in made.names]
            planned: dict[int, MachineView] = {}
            for new in requests:
                transaction.expect(new)
            for at in order:
                try:
                    machine, network = transaction.create_machine(requests[at])
                except RequestError as fault:
                    raise fault.in_request(at) if batch else fault from None
                planned[at] = MachineView(machine, network.name, network.tenant, transaction.now, WAITING)
            views = [planned[at] for at in range(len(requests))]
            transaction.answered(request, [view.machine.name for view in views])
            return views

        views = self.run(plan, timeout, repeatable=bool(request.request_id))
        with self.cache.lock:
            records = [self.cache.machines.get(view.machine.name) for view in views]
            return [view if record is None else record.view for view, record in zip(views, records, strict=True)]

    def update_machine(self, name: str, change: MachineUpdate, timeout: float) -> MachineView:
        """Change a machine.

        Raises InvalidArgument, NotFound, AlreadyExists, ResourceExhausted, Aborted, Unavailable.
        """
        check([*machine_change(change, self.own_ports, self.own_macs), *listing_change(change, self.own_macs)])
        self.run(lambda transaction: transaction.update_machine(name, change), timeout)
        return self.machine(name)

    def delete_machine(self, name: str, timeout: float) -> None:
        """Delete a machine and the network made with it. Raises NotFound, Aborted, Unavailable."""
        self.run(lambda transaction: transaction.delete_machine(name), timeout)

    def machine(self, name: str) -> MachineView:
        """One machine. Raises NotFound."""
        with self.cache.lock:
            return find(self.cache.machines, f"machines/{name}").view

    def list_machines(self, network: str, tenant: str, after: str, count: int) -> list[MachineView]:
        """At most `count` machines with names above `after`, in order; of one network and tenant unless empty.

        Raises NotFound.
        """
        with self.cache.lock:
            every = self.cache.machines
            found = self.of_network(network, tenant, every, lambda record: record.machines)
            return [every[name].view for name in following(found, after, count)]

    def wait_machines(self, views: Sequence[MachineView], timeout: float) -> list[MachineView]:
        """The machines once none is pending, or as they are after `timeout`. Raises NotFound."""
        until = time.monotonic() + timeout
        settled = []
        with self.cache.lock:
            for view in views:
                name = f"machines/{view.machine.name}"
                record = remade(self.cache.machines, name, view.created_at)
                self.await_object(record, record.network, name, until - time.monotonic())
                settled.append(record)
            return [record.view for record in settled]

    def watch_machines(self, network: str) -> tuple[list[MachineView], Watcher[MachineView]]:
        """The machines there are (only those of `network` unless it is empty) and a stream of changes after them."""

        with self.cache.lock:
            record = self.cache.networks.get(network)
            machines = record.machines if record is not None else {} if network else self.cache.machines
            watcher = self.hub.add(MachineView, lambda view: network in ("", view.network))
            return [machine.view for machine in machines.values()], watcher
