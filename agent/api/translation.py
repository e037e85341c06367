"""TranslationService: who used a public address, or a port of a shared one, and when."""

from __future__ import annotations

from agent.api import encode
from agent.api.calls import Context, time_left
from agent.errors import InvalidArgument, TranslationNotFound, Violation
from agent.store import Store
from agent.validation.objects import public_address, public_port, wrong
from sluice.v1 import translation_pb2, translation_pb2_grpc

# The client's clock may be ahead of ours.
_AHEAD_MILLISECONDS = 60_000


class TranslationService(translation_pb2_grpc.TranslationServiceServicer):
    """Translations over gRPC; the contract is translation.proto."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def LookupTranslation(
        self, request: translation_pb2.LookupTranslationRequest, context: Context
    ) -> translation_pb2.Translation:
        """The network that had the port block of an address and port, or what had a public address of its own."""
        moment, when = None, "now"
        address, violations = request.address, list(public_address(request.address))
        try:
            if request.HasField("time"):
                moment, when = request.time.ToMilliseconds(), f"at {request.time.ToJsonString()}"
                if moment > self._store.clock.now() + _AHEAD_MILLISECONDS:
                    violations.append(wrong("time", request.time.ToJsonString(), "a moment that is not in the future"))
        except ValueError as error:
            violations.append(Violation("time", f"time: {error}"))
        if not violations:
            self._store.wait_connected(time_left(context))
            assigned = self._store.assignment(address, moment)
            if assigned is not None:
                of_gateway = assigned.holder.startswith("vpnGateways/")
                return translation_pb2.Translation(
                    network=f"networks/{assigned.network}",
                    tenant=assigned.tenant,
                    prefix=assigned.prefix,
                    machine="" if of_gateway else f"machines/{assigned.holder}",
                    vpn_gateway=assigned.holder if of_gateway else "",
                    allocate_time=encode.moment(assigned.allocated_at),
                    release_time=encode.moment(assigned.released_at) if assigned.released_at else None,
                )
            if self._store.is_assignable(address):
                raise TranslationNotFound(f"{address} stood for no machine {when}")
        violations += public_port(request.port)
        if violations:
            raise InvalidArgument(violations)
        held = self._store.translation(address, request.port, moment)
        if held is None:
            raise TranslationNotFound(f"no network used {address}:{request.port} {when}")
        return translation_pb2.Translation(
            network=f"networks/{held.network}",
            tenant=held.tenant,
            prefix=held.prefix,
            port_block=encode.port_block(held.block),
            allocate_time=encode.moment(held.allocated_at),
            release_time=encode.moment(held.released_at) if held.released_at else None,
        )
