"""Cache of answers from other servers, for their TTL (RFC 2181 section 8, RFC 2308)."""

from __future__ import annotations

from dataclasses import dataclass

from dns.rcode import Rcode
from dns.rdatatype import RdataType

from resolver.decide import ForwardingServer
from resolver.message import CHECKING_DISABLED, Query
from resolver.relay import ANSWER, Relayed
from resolver.zone import Labels

LONGEST_SECONDS = 300
"""However long a server says; and LONGEST_NOTHING for that there is none."""
LONGEST_NOTHING = 60
MOST = 4096
"""Of at most UDP_SIZE bytes each, which `Upstream` sees to."""

Key = tuple[tuple[ForwardingServer, ...], Labels, RdataType, bool, bool]


@dataclass(frozen=True, slots=True)
class _Kept:
    reply: Relayed
    since: float
    until: float


class AnswerCache:
    """Replies by who was asked what; the oldest go where there are more than `most`.

    Nothing is kept of servers inside a network: their answers are that
    network's alone, and their addresses may be another's tomorrow. Servers
    beyond a tunnel are known by their gateway as well, so that what they said
    is recalled for its network alone.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: dict[Key, _Kept] = {}

    def recall(self, query: Query, servers: tuple[ForwardingServer, ...], now: float) -> Relayed | None:
        """What was said before, with what is left of its time; `now` is of a clock that only goes forward."""
        kept = self._kept.get(_key(query, servers))
        if kept is None or now >= kept.until:
            return None
        age = int(now - kept.since)
        return kept.reply.aged(age) if age else kept.reply

    def keep(self, query: Query, servers: tuple[ForwardingServer, ...], reply: Relayed, now: float) -> None:
        """Remember a reply, unless it is one that must be asked for again."""
        seconds = _seconds(reply, query.question.kind)
        if seconds <= 0 or any(server.source for server in servers):
            return
        key = _key(query, servers)
        self._kept.pop(key, None)
        while len(self._kept) >= self._most:
            # A dict has its oldest entry first.
            del self._kept[next(iter(self._kept))]
        self._kept[key] = _Kept(reply, now, now + seconds)


def _key(query: Query, servers: tuple[ForwardingServer, ...]) -> Key:
    question = query.question
    return servers, question.labels, question.kind, query.dnssec, bool(query.flags & CHECKING_DISABLED)


def _seconds(reply: Relayed, kind: RdataType) -> int:
    """How long a reply may be remembered."""
    if reply.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return 0
    times = [record.ttl for record in reply.records]
    if reply.rcode == Rcode.NOERROR and any(r.section == ANSWER and r.kind == kind for r in reply.records):
        return min(LONGEST_SECONDS, *times)
    # No such name, or nothing of that kind: the zone's SOA says for how long.
    minimums = [record.minimum for record in reply.records if record.minimum is not None]
    return min([LONGEST_NOTHING, *times, *minimums]) if any(minimums) else 0
