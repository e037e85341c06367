"""Proposals as strongSwan writes them, taken apart, so that they can be said in the words of other vendors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from cli.errors import refusal

Said = TypeVar("Said")

GROUPS = {
    "modp1024": 2,
    "modp1536": 5,
    "modp2048": 14,
    "modp3072": 15,
    "modp4096": 16,
    "modp6144": 17,
    "modp8192": 18,
    "ecp256": 19,
    "ecp384": 20,
    "ecp521": 21,
    "curve25519": 31,
}
"""Key exchange → its number (IANA, Transform Type 4 of IKEv2)."""

_ENCRYPTION = re.compile(r"3des|aes(128|192|256)(gcm16|ctr)?|chacha20poly1305")
_INTEGRITY = re.compile(r"sha(1|256|384|512)")
_PRF = re.compile(r"prf(sha(1|256|384|512))")


@dataclass(frozen=True, slots=True)
class Proposal:
    """The algorithms of `text`; `prf` is written as `integrity` is, `group` is a number of `GROUPS`' or 0."""

    text: str
    encryption: str
    integrity: str = ""
    prf: str = ""
    group: int = 0

    @property
    def aead(self) -> bool:
        """Whether encryption needs no integrity algorithm (RFC 5282, RFC 4106)."""
        return self.encryption.endswith("gcm16") or self.encryption == "chacha20poly1305"


class InexpressibleProposal(ValueError):
    """An algorithm that a vendor does not have; the message names it."""


def parse(text: str) -> Proposal:
    """A proposal such as `aes256gcm16-prfsha384-ecp384`. Raises InexpressibleProposal naming what is not known."""
    found = {"encryption": "", "integrity": "", "prf": ""}
    group = 0
    for token in text.split("-"):
        if _ENCRYPTION.fullmatch(token):
            found["encryption"] = token
        elif _INTEGRITY.fullmatch(token):
            found["integrity"] = token
        elif match := _PRF.fullmatch(token):
            found["prf"] = match[1]
        elif token in GROUPS:
            group = GROUPS[token]
        else:
            raise InexpressibleProposal(f"{token} is not known here")
    return Proposal(text, group=group, **found)


def said(
    field: str, proposals: Iterable[str], vendor: str, say: Callable[[Proposal], Said]
) -> tuple[list[tuple[Proposal, Said]], list[str]]:
    """The proposals that a vendor has words for, in order, each with what `say` makes of it; and notes on the others.

    One that both sides know is enough. Raises errors.Failure naming `field` when none is left.
    """
    known: list[tuple[Proposal, Said]] = []
    notes = []
    for text in proposals:
        try:
            proposal = parse(text)
            known.append((proposal, say(proposal)))
        except InexpressibleProposal as error:
            notes.append(f"{text} is left out: {error}")
    if not known:
        reasons = "; ".join(note.replace(" is left out:", ":") for note in notes) or "the list is empty"
        raise refusal(field, f"{vendor} can do none of them ({reasons})")
    return known, notes


def lookup(words: dict[str, str], algorithm: str, vendor: str) -> str:
    """The vendor's word for an algorithm. Raises InexpressibleProposal."""
    if algorithm not in words:
        raise InexpressibleProposal(f"{vendor} has no {algorithm}")
    return words[algorithm]


def group_of(proposal: Proposal, groups: Iterable[int], vendor: str) -> int:
    """The proposal's group, 0 for none, which must be one of `groups`. Raises InexpressibleProposal."""
    if proposal.group and proposal.group not in groups:
        name = next(name for name, number in GROUPS.items() if number == proposal.group)
        raise InexpressibleProposal(f"{vendor} has no {name}")
    return proposal.group


def of_one_group(
    known: list[tuple[Proposal, Said]], notes: list[str], why: str
) -> tuple[list[tuple[Proposal, Said]], list[str]]:
    """The proposals with the key exchange of the first one, and notes that say `why` the others are left out."""
    group = known[0][0].group
    others = [f"{one.text} is left out: {why}" for one, _ in known if one.group != group]
    return [(one, words) for one, words in known if one.group == group], [*notes, *others]
