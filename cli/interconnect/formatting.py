"""Interconnects in words: kinds, states, and the rows and fields they are shown as."""

from __future__ import annotations

from cli import creation, names, output
from cli.session import CliSession
from sluice.v1 import interconnect_pb2 as pb

COLUMNS = ("NAME", "KIND", "NETWORK", "PORT", "PEER", "STATE", "SESSION", "SINCE", "BFD", "PREFIXES", "LAST ERROR")

KINDS = {"direct-connect": pb.Interconnect.DIRECT_CONNECT, "peering": pb.Interconnect.PEERING}
"""Kinds as they are typed."""


def kind_word(interconnect: pb.Interconnect) -> str:
    """`direct-connect` or `peering`."""
    return pb.Interconnect.Kind.Name(interconnect.kind).lower().replace("_", "-")


def session_word(session: pb.InterconnectSession) -> str:
    """The state of a session, such as `established`; empty before anything was seen of it."""
    name = pb.InterconnectSession.State.Name(session.state)
    return name.removeprefix("SESSION_").lower() if session.state else ""


def bfd_word(session: pb.InterconnectSession) -> str:
    """`off`, `silent`, `down` or `up`; empty before anything was seen of it."""
    return pb.InterconnectSession.Bfd.Name(session.bfd).removeprefix("BFD_").lower() if session.bfd else ""


def row(interconnect: pb.Interconnect) -> tuple[object, ...]:
    """What `COLUMNS` name; prefixes are those accepted of those received."""
    session = interconnect.session
    seen = session.state == pb.InterconnectSession.SESSION_ESTABLISHED
    return (
        names.short(interconnect.name),
        kind_word(interconnect),
        names.short(interconnect.network),
        _port(interconnect),
        f"{interconnect.peer_address} AS {interconnect.peer_as}",
        creation.state_word(interconnect.status),
        session_word(session),
        output.moment(session.since_time),
        bfd_word(session),
        f"{session.accepted_prefixes}/{session.received_prefixes}" if seen else "",
        why(interconnect),
    )


def why(interconnect: pb.Interconnect) -> str:
    """Why it is not established: what went wrong last, of one held until when; else why it is not live."""
    session = interconnect.session
    if session.state == pb.InterconnectSession.SESSION_HELD:
        return session.detail
    if session.state == pb.InterconnectSession.SESSION_ESTABLISHED:
        return session.detail or interconnect.status.detail
    return session.last_error or session.detail or interconnect.status.detail


def show(session: CliSession, interconnect: pb.Interconnect) -> None:
    """Write all there is to one interconnect."""
    if session.json:
        output.print_json(output.to_json(interconnect))
        return
    output.print_fields((*_configured(interconnect), *_seen(interconnect)))


def _configured(interconnect: pb.Interconnect) -> tuple[tuple[str, object], ...]:
    peering = interconnect.kind == pb.Interconnect.PEERING
    everything = "the pools of public addresses" if peering else "the network and its drives"
    bfd = "off" if interconnect.disable_bfd else f"every {interconnect.bfd_interval_milliseconds} ms"
    return (
        ("name", names.short(interconnect.name)),
        ("kind", kind_word(interconnect)),
        ("network", names.short(interconnect.network)),
        ("tenant", interconnect.tenant),
        ("port", _port(interconnect)),
        ("local address", interconnect.local_address),
        ("peer address", interconnect.peer_address),
        ("local AS", interconnect.local_as),
        ("peer AS", interconnect.peer_as),
        ("password", "yes" if interconnect.has_password else "none"),
        ("accepts", ", ".join(interconnect.accept_prefixes) or "any public prefix"),
        ("announces", ", ".join(interconnect.announce_prefixes) or everything),
        ("maximum prefixes", interconnect.maximum_prefixes),
        ("preference", interconnect.preference),
        ("rate", f"{interconnect.rate_kbps} kbit/s" if interconnect.rate_kbps else "no limit"),
        ("BFD packets", bfd),
        ("hold time", f"{interconnect.hold_seconds} s"),
        ("enabled", "no" if interconnect.disabled else "yes"),
    )


def _seen(interconnect: pb.Interconnect) -> tuple[tuple[str, object], ...]:
    session = interconnect.session
    return (
        ("state", creation.state_word(interconnect.status)),
        ("detail", interconnect.status.detail),
        ("session", session_word(session)),
        ("session detail", session.detail),
        ("since", output.moment(session.since_time)),
        ("last error", session.last_error),
        ("last error at", output.moment(session.last_error_time)),
        ("BFD", bfd_word(session)),
        ("peer MAC", session.peer_mac),
        ("prefixes received", session.received_prefixes),
        ("prefixes accepted", session.accepted_prefixes),
        ("prefixes announced", ", ".join(session.announced_prefixes)),
        ("went down", {0: "never", 1: "once"}.get(session.flaps, f"{session.flaps} times")),
        ("created", output.moment(interconnect.create_time)),
    )


def _port(interconnect: pb.Interconnect) -> str:
    return f"{interconnect.port}/vlan={interconnect.vlan}" if interconnect.vlan else interconnect.port
