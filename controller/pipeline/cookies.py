"""Cookies: identify a flow on the switch as one that was compiled.

A cookie names the network and the feature of a flow and holds 40 bits of a
digest of its text. Two different flows of one network may have the same 40
bits: by chance in one of about 5,000 networks of 20,000 flows, and a BGP peer
can search for such prefixes. So flows of one compilation that share a cookie
get others, which depend on all of them, and a flow that takes another's place
is told from it by the whole digest, see `diff`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from controller.pipeline.flow import Flow
from controller.pipeline.registry import COOKIE_DIGEST_BITS, cookie

_DIGEST_BYTES = 16
_ROUNDS = 8


class CollisionError(Exception):
    """Flows of one network that no cookie tells apart."""


@dataclass(frozen=True, slots=True)
class Identified:
    """Flows, and the 128-bit digest of each flow's text, by cookie."""

    flows: dict[int, Flow]
    digests: dict[int, int]


def identify(flows: Iterable[Flow], bits: int = COOKIE_DIGEST_BITS) -> Identified:
    """Gives each flow a cookie with `bits` of its digest: a function of the set of flows, not of their order.

    Raises CollisionError when flows share a cookie eight times, where each
    digest takes in all flows that shared the one before. That does not happen
    by chance; to search for such flows costs 2^20 times more for each.
    """
    found = Identified({}, {})
    by_text: dict[str, Flow] = {}
    for flow in flows:
        text = flow.text()
        digest = _digest(text)
        value = _cookie(flow, digest, bits)
        found.flows[value] = by_text[text] = flow
        found.digests[value] = digest
    return found if len(found.flows) == len(by_text) else _tell_apart(by_text, bits)


def _tell_apart(flows: dict[str, Flow], bits: int) -> Identified:
    found = Identified({}, {})
    waiting = dict.fromkeys(flows, "")
    for _ in range(_ROUNDS):
        sharing: dict[int, list[str]] = defaultdict(list)
        for text, salt in waiting.items():
            sharing[_cookie(flows[text], _digest(text + salt), bits)].append(text)
        alone = {value: texts[0] for value, texts in sharing.items() if len(texts) == 1 and value not in found.flows}
        for value, text in alone.items():
            found.flows[value], found.digests[value] = flows[text], _digest(text)
        waiting = {
            text: f"\n{_digest(repr(sorted((other, waiting[other]) for other in texts))):x}"
            for value, texts in sharing.items()
            if value not in alone
            for text in texts
        }
        if not waiting:
            return found
    raise CollisionError(f"{len(waiting)} flows share their cookies, one of them: {min(waiting)}")


def _cookie(flow: Flow, digest: int, bits: int) -> int:
    return cookie(flow.key, flow.feature, digest >> 8 * _DIGEST_BYTES - bits)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest())
