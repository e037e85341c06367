"""Commands and queries of public addresses."""

from __future__ import annotations

import time
from dataclasses import replace

from agent.cache.records import LIVE, WAITING, PublicAddressRecord, PublicAddressView
from agent.cache.watch import Watcher
from agent.errors import NotFound
from agent.requests import Idempotency, PublicAddressSpec, PublicAddressUpdate
from agent.store.desired_state import DesiredState, check, find, following, remade
from agent.transaction import TransactionBuilder
from agent.validation.objects import new_public_address, public_address_change, request_id
from state.model import State


class PublicAddresses(DesiredState):
    """Public addresses of the store."""

    def create_public_address(self, new: PublicAddressSpec, request: Idempotency, timeout: float) -> PublicAddressView:
        """Take a public address.

        Raises InvalidArgument, NotFound, AlreadyExists, InUse, ResourceExhausted, Aborted, Unavailable.
        """
        check([*request_id("request_id", request.request_id), *new_public_address(new)])

        def plan(transaction: TransactionBuilder) -> PublicAddressView:
            made = self.made_before(request)
            if made is not None:
                record = remade(self.cache.public_addresses, f"publicAddresses/{made.names[0]}", made.created_at)
                return shown(record)
            value = transaction.create_public_address(new)
            transaction.answered(request, [value.name])
            return PublicAddressView(replace(value, revision=0), WAITING if value.machine else LIVE)

        view = self.run(plan, timeout, repeatable=bool(request.request_id))
        with self.cache.lock:
            record = self.cache.public_addresses.get(view.address.name)
            return view if record is None else shown(record)

    def update_public_address(self, name: str, change: PublicAddressUpdate, timeout: float) -> PublicAddressView:
        """Change a public address. Raises InvalidArgument, NotFound, InUse, ResourceExhausted, Aborted, Unavailable."""
        check(public_address_change(change))
        self.run(lambda transaction: transaction.update_public_address(name, change), timeout)
        return self.public_address(name)

    def delete_public_address(self, name: str, timeout: float) -> None:
        """Release a public address. Raises NotFound, Aborted, Unavailable."""
        self.run(lambda transaction: transaction.delete_public_address(name), timeout)

    def public_address(self, name: str) -> PublicAddressView:
        """One public address. Raises NotFound."""
        with self.cache.lock:
            return shown(find(self.cache.public_addresses, f"publicAddresses/{name}"))

    def list_public_addresses(self, tenant: str, after: str, count: int) -> list[PublicAddressView]:
        """At most `count` with names above `after`, in order; of one tenant unless it is empty."""
        with self.cache.lock:
            index = self.cache.address_tenants.get(tenant) if tenant else self.cache.public_addresses
            return [shown(self.cache.public_addresses[name]) for name in following([index], after, count)]

    def wait_public_address(self, view: PublicAddressView, timeout: float) -> PublicAddressView:
        """The address once it is no longer pending, or as it is after `timeout`. Raises NotFound."""
        name = f"publicAddresses/{view.address.name}"
        until = time.monotonic() + timeout
        with self.cache.lock:
            record = remade(self.cache.public_addresses, name, view.address.created_at)

            def settled() -> bool:
                return record.gone or shown(record).status.state is not State.PENDING

            # It may be given to a machine of another network meanwhile.
            while not settled() and time.monotonic() < until and not self.stopping:
                machine = record.address.machine
                network = self.cache.machines[machine].network
                moved = lambda of=machine: settled() or record.address.machine != of  # noqa: E731
                self.await_settled(network, moved, until - time.monotonic())
            if record.gone:
                raise NotFound(name, f"{name} was deleted meanwhile")
            return shown(record)

    def watch_public_addresses(self, name: str) -> tuple[list[PublicAddressView], Watcher[PublicAddressView]]:
        """The public addresses there are (only `name` unless it is empty) and a stream of changes after them."""
        with self.cache.lock:
            records = self.cache.public_addresses.values() if not name else [self.cache.public_addresses.get(name)]
            watcher = self.hub.add(PublicAddressView, lambda view: name in ("", view.address.name))
            return [shown(record) for record in records if record is not None], watcher


def shown(record: PublicAddressRecord) -> PublicAddressView:
    """What clients see of a record that was taken in."""
    assert record.view is not None
    return record.view
