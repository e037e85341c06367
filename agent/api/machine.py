"""MachineService: decode, call the store, encode."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from google.protobuf.empty_pb2 import Empty

from agent.api import encode, limits, paging
from agent.api.calls import ConcurrencyLimit, Context, idempotency, time_left
from agent.api.mask import mask
from agent.api.names import identifier, optional_identifier
from agent.api.watching import stream
from agent.cache.records import MachineView
from agent.errors import InvalidArgument, Violation, within
from agent.requests import AttachmentSpec, MachineSpec, MachineUpdate, RequestedAddress
from agent.store import Store
from agent.validation.objects import wrong
from sluice.v1 import machine_pb2, machine_pb2_grpc, status_pb2

CHANGEABLE = ("mac_address", "hostname", "attachment", "limits")
_ADDITIONAL = "attachment.additional_addresses"
_PORT, _TAGS = "attachment.port", ("attachment.vlan", "attachment.vni")
_PARTS = (*limits.PATHS, _PORT, *_TAGS, _ADDITIONAL)


def _tagged(message: machine_pb2.Attachment) -> AttachmentSpec:
    tag = message.WhichOneof("tag")
    return AttachmentSpec(message.port, message.vlan if tag == "vlan" else None, message.vni if tag == "vni" else None)


def _additional(message: machine_pb2.Attachment) -> tuple[RequestedAddress, ...]:
    return tuple(RequestedAddress(one.address, one.mac_address) for one in message.additional_addresses)


def _new(request: machine_pb2.CreateMachineRequest) -> MachineSpec:
    asked = request.machine
    return MachineSpec(
        name=request.machine_id,
        network=asked.network,
        mac=asked.mac_address,
        address=asked.address,
        hostname=asked.hostname,
        attachment=_tagged(asked.attachment) if asked.HasField("attachment") else None,
        tenant=asked.tenant,
        public_rate=asked.limits.public_kbps,
        storage_rate=asked.limits.storage_kbps,
        public_address=asked.public_address,
        additional=_additional(asked.attachment),
    )


class MachineService(machine_pb2_grpc.MachineServiceServicer):
    """Machines over gRPC; the contract is machine.proto. Faults become statuses in `calls`."""

    def __init__(self, store: Store, waiting: ConcurrencyLimit, watching: ConcurrencyLimit) -> None:
        self._store, self._waiting, self._watching = store, waiting, watching
        self._encode = partial(encode.machine, domain=store.config.appliance.domain)

    def CreateMachine(self, request: machine_pb2.CreateMachineRequest, context: Context) -> machine_pb2.Machine:
        """Create a machine, and wait for its flows if asked to."""
        repeat = idempotency(request, "CreateMachine")
        with self._waiting.seated(request.wait_live):
            views = self._store.create_machines([_new(request)], repeat, time_left(context), batch=False)
            if request.wait_live:
                views = self._store.wait_machines(views, time_left(context))
        return self._encode(views[0])

    def BatchCreateMachines(
        self, request: machine_pb2.BatchCreateMachinesRequest, context: Context
    ) -> machine_pb2.BatchCreateMachinesResponse:
        """Create machines, all or none."""
        found: list[Violation] = []
        for at, one in enumerate(request.requests):
            for field in ("request_id", "wait_live"):
                if getattr(one, field):
                    violation = wrong(field, getattr(one, field), "unset; set it on the batch")
                    found += within([violation], f"requests[{at}]")
        if found:
            raise InvalidArgument(found)
        repeat = idempotency(request, "BatchCreateMachines")
        with self._waiting.seated(request.wait_live):
            views = self._store.create_machines(
                [_new(one) for one in request.requests], repeat, time_left(context), batch=True
            )
            if request.wait_live:
                views = self._store.wait_machines(views, time_left(context))
        return machine_pb2.BatchCreateMachinesResponse(machines=map(self._encode, views))

    def GetMachine(self, request: machine_pb2.GetMachineRequest, context: Context) -> machine_pb2.Machine:
        """One machine."""
        name = identifier("name", request.name, "machines")
        self._store.wait_connected(time_left(context))
        view = self._store.machine(name)
        if request.wait_live:
            with self._waiting.seated():
                view = self._store.wait_machines([view], time_left(context))[0]
        return self._encode(view)

    def ListMachines(
        self, request: machine_pb2.ListMachinesRequest, context: Context
    ) -> machine_pb2.ListMachinesResponse:
        """A page of machines in order of name."""
        size = paging.size(request.page_size)
        network = optional_identifier("network", request.network, "networks")
        selection = paging.selection(network, request.tenant)
        after = paging.decode("machines", selection, request.page_token)
        self._store.wait_connected(time_left(context))
        views = self._store.list_machines(network, request.tenant, after, size + 1)
        page, token = paging.cut(views, size, "machines", selection, lambda view: view.machine.name)
        return machine_pb2.ListMachinesResponse(machines=map(self._encode, page), next_page_token=token)

    def UpdateMachine(self, request: machine_pb2.UpdateMachineRequest, context: Context) -> machine_pb2.Machine:
        """Change what the mask names."""
        asked = request.machine
        name = identifier("machine.name", asked.name, "machines")
        self._store.wait_connected(time_left(context))
        paths = self._mask(request, name)
        public_rate, storage_rate = limits.changed(asked.limits, paths)
        change = MachineUpdate(
            mac=asked.mac_address if "mac_address" in paths else None,
            hostname=asked.hostname if "hostname" in paths else None,
            attachment=_tagged(asked.attachment) if paths & {"attachment", _PORT} else None,
            public_rate=public_rate,
            storage_rate=storage_rate,
            additional=_additional(asked.attachment) if paths & {"attachment", _ADDITIONAL} else None,
        )
        with self._waiting.seated(request.wait_live):
            view = self._store.update_machine(name, change, time_left(context))
            if request.wait_live:
                view = self._store.wait_machines([view], time_left(context))[0]
        return self._encode(view)

    def _mask(self, request: machine_pb2.UpdateMachineRequest, name: str) -> set[str]:
        """Which fields to set (https://google.aip.dev/134). Raises InvalidArgument, NotFound."""
        kept = None
        if not request.update_mask.paths:
            # A client that writes back what it read has every field set: those that cannot change must be the same.
            present = self._encode(self._store.machine(name))
            kept = {field: getattr(present, field) for field in ("network", "address", "public_address")}
        paths = mask("machine", request.machine, request.update_mask, CHANGEABLE, _PARTS, kept)
        if _PORT not in paths:
            found = [
                wrong("update_mask", tag, f"{tag} with {_PORT}: a tag belongs to a port")
                for tag in _TAGS
                if tag in paths
            ]
            if found:
                raise InvalidArgument(found)
        return paths

    def DeleteMachine(self, request: machine_pb2.DeleteMachineRequest, context: Context) -> Empty:
        """Delete a machine, and the network made with it."""
        self._store.delete_machine(identifier("name", request.name, "machines"), time_left(context))
        return Empty()

    def WatchMachines(
        self, request: machine_pb2.WatchMachinesRequest, context: Context
    ) -> Iterator[machine_pb2.MachineEvent]:
        """Every machine there is, SYNCED, then each change."""
        network = optional_identifier("network", request.network, "networks")
        self._store.wait_connected(time_left(context))

        def event(kind: status_pb2.ChangeType.ValueType, view: MachineView | None) -> machine_pb2.MachineEvent:
            return machine_pb2.MachineEvent(type=kind, machine=None if view is None else self._encode(view))

        return stream(self._store, self._watching, context, lambda: self._store.watch_machines(network), event)
