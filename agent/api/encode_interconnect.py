"""Converts interconnects, sessions and routes to messages of the API, without passwords."""

from __future__ import annotations

from dataclasses import replace

from agent.api.encode import moment, status
from agent.cache.records import InterconnectView
from sluice.v1 import interconnect_pb2
from state.interconnect import BfdState, BgpSession, InterconnectKind, Route, SessionState

KINDS = {
    InterconnectKind.DIRECT_CONNECT: interconnect_pb2.Interconnect.DIRECT_CONNECT,
    InterconnectKind.PEERING: interconnect_pb2.Interconnect.PEERING,
}
SESSION_STATES = {
    SessionState.DISABLED: interconnect_pb2.InterconnectSession.SESSION_DISABLED,
    SessionState.HELD: interconnect_pb2.InterconnectSession.SESSION_HELD,
    SessionState.DOWN: interconnect_pb2.InterconnectSession.SESSION_DOWN,
    SessionState.CONNECTING: interconnect_pb2.InterconnectSession.SESSION_CONNECTING,
    SessionState.ESTABLISHED: interconnect_pb2.InterconnectSession.SESSION_ESTABLISHED,
}
BFD_STATES = {
    BfdState.OFF: interconnect_pb2.InterconnectSession.BFD_OFF,
    BfdState.SILENT: interconnect_pb2.InterconnectSession.BFD_SILENT,
    BfdState.DOWN: interconnect_pb2.InterconnectSession.BFD_DOWN,
    BfdState.UP: interconnect_pb2.InterconnectSession.BFD_UP,
}


def interconnect(view: InterconnectView) -> interconnect_pb2.Interconnect:
    """An interconnect."""
    value = view.interconnect
    return interconnect_pb2.Interconnect(
        name=f"interconnects/{value.name}",
        kind=KINDS[value.kind],
        network=view.network and f"networks/{view.network}",
        port=value.port,
        vlan=value.vlan or 0,
        local_address=value.local_address,
        peer_address=value.peer_address,
        local_as=value.local_as,
        peer_as=value.peer_as,
        has_password=view.has_password,
        accept_prefixes=value.accept,
        announce_prefixes=value.announce,
        maximum_prefixes=value.maximum_prefixes,
        preference=value.preference,
        rate_kbps=value.rate,
        disable_bfd=not value.bfd_milliseconds,
        bfd_interval_milliseconds=value.bfd_milliseconds,
        hold_seconds=value.hold_seconds,
        disabled=not value.enabled,
        tenant=view.tenant,
        status=status(view.status),
        session=None if view.session is None else session(_as_configured(view.session, enabled=value.enabled)),
        create_time=moment(value.created_at),
    )


def _as_configured(value: BgpSession, *, enabled: bool) -> BgpSession:
    """The session as it is to be from now on, where its daemon has not yet said so."""
    if not enabled:
        return replace(value, state=SessionState.DISABLED, detail="it is disabled")
    if value.state is SessionState.DISABLED:
        return replace(value, state=SessionState.CONNECTING, detail="the peer has not answered yet")
    return value


def session(value: BgpSession) -> interconnect_pb2.InterconnectSession:
    """What was last seen of a session."""
    return interconnect_pb2.InterconnectSession(
        state=SESSION_STATES[value.state],
        detail=value.detail,
        since_time=moment(value.since) if value.since else None,
        last_error=value.error,
        last_error_time=moment(value.error_at) if value.error_at else None,
        bfd=BFD_STATES[value.bfd],
        peer_mac=value.peer_mac,
        received_prefixes=value.received,
        accepted_prefixes=value.accepted,
        announced_prefixes=value.announced.split(),
        flaps=value.flaps,
    )


def route(value: Route) -> interconnect_pb2.InterconnectRoute:
    """One prefix that a peer announces."""
    return interconnect_pb2.InterconnectRoute(
        prefix=value.prefix,
        as_path=map(int, value.as_path.split()),
        med=value.med,
        accepted=not value.refusal,
        refusal=value.refusal,
        graceful_shutdown=value.graceful_shutdown,
    )
