"""Commands and queries of drives."""

from __future__ import annotations

from agent.cache.records import WAITING, DriveView
from agent.cache.watch import Watcher
from agent.requests import DriveSpec, Idempotency
from agent.store.desired_state import DesiredState, check, find, following, remade
from agent.transaction import TransactionBuilder
from agent.validation.objects import new_drive, request_id


class Drives(DesiredState):
    """Drives of the store."""

    def create_drive(self, new: DriveSpec, request: Idempotency, timeout: float) -> DriveView:
        """Make a drive reachable.

        Raises InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, Aborted, Unavailable.
        """
        check([*request_id("request_id", request.request_id), *new_drive(new, self.config.appliance.storage)])

        def plan(transaction: TransactionBuilder) -> DriveView:
            made = self.made_before(request)
            if made is not None:
                return remade(self.cache.drives, f"drives/{made.names[0]}", made.created_at).view
            drive, record = transaction.create_drive(new)
            transaction.answered(request, [drive.name])
            return DriveView(drive, record.network.name, record.network.tenant, transaction.now, WAITING)

        view = self.run(plan, timeout, repeatable=bool(request.request_id))
        with self.cache.lock:
            record = self.cache.drives.get(view.drive.name)
            return view if record is None else record.view

    def delete_drive(self, name: str, timeout: float) -> None:
        """Take a drive away from its network. Raises NotFound, Aborted, Unavailable."""
        self.run(lambda transaction: transaction.delete_drive(name), timeout)

    def drive(self, name: str) -> DriveView:
        """One drive. Raises NotFound."""
        with self.cache.lock:
            return find(self.cache.drives, f"drives/{name}").view

    def list_drives(self, network: str, tenant: str, after: str, count: int) -> list[DriveView]:
        """At most `count` drives with names above `after`, in order; of one network and tenant unless empty.

        Raises NotFound.
        """
        with self.cache.lock:
            every = self.cache.drives
            found = self.of_network(network, tenant, every, lambda record: record.drives)
            return [every[name].view for name in following(found, after, count)]

    def wait_drive(self, view: DriveView, timeout: float) -> DriveView:
        """The drive once it is no longer pending, or as it is after `timeout`. Raises NotFound."""
        name = f"drives/{view.drive.name}"
        with self.cache.lock:
            record = remade(self.cache.drives, name, view.created_at)
            self.await_object(record, record.network, name, timeout)
            return record.view

    def watch_drives(self, network: str) -> tuple[list[DriveView], Watcher[DriveView]]:
        """The drives there are (only those of `network` unless it is empty) and a stream of changes after them."""
        with self.cache.lock:
            record = self.cache.networks.get(network)
            drives = record.drives if record is not None else {} if network else self.cache.drives
            watcher = self.hub.add(DriveView, lambda view: network in ("", view.network))
            return [drive.view for drive in drives.values()], watcher
