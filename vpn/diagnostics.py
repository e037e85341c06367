"""Converts lines of charon's log to errors for network engineers: pure functions (strongSwan 5.9.8)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Words = Callable[[re.Match[str], "Offer"], str]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a connection offers and accepts; `identities` are ours and the peer's."""

    peer: str
    ike: Sequence[str]
    esp: Sequence[str]
    local: Sequence[str]
    remote: Sequence[str]
    identities: tuple[str, str] = ("", "")
    by_certificate: bool = False
    version: int = 2


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)


def _ike(_: re.Match[str], offer: Offer) -> str:
    return (
        f"no proposal chosen for IKE: the peer accepts none of {_listed(offer.ike)}, or knows no connection from this "
        f"address by IKEv{offer.version}"
    )


def _ike_theirs(found: re.Match[str], offer: Offer) -> str:
    return f"no proposal chosen for IKE: the peer offers {found[1]}, accepted is {_listed(offer.ike)}"


def _esp(_: re.Match[str], offer: Offer) -> str:
    return f"no proposal chosen for ESP: the peer accepts none of {_listed(offer.esp)}"


def _esp_theirs(found: re.Match[str], offer: Offer) -> str:
    return f"no proposal chosen for ESP: the peer offers {found[1]}, accepted is {_listed(offer.esp)}"


def _refused(_: re.Match[str], offer: Offer) -> str:
    what = "certificate and identity" if offer.by_certificate else "pre-shared key and identity"
    return f"authentication failed: the peer refuses our {what}"


def _configured(offer: Offer) -> str:
    return f"{_listed(offer.local)} here and {_listed(offer.remote)} there"


def _selectors(_: re.Match[str], offer: Offer) -> str:
    return f"traffic selectors unacceptable: the peer does not accept {_configured(offer)}"


def _selectors_theirs(found: re.Match[str], offer: Offer) -> str:
    asked = f"{found[1]} here and {found[2]} there"
    return f"traffic selectors unacceptable: the peer asks for {asked}, configured is {_configured(offer)}"


def _silent(_: re.Match[str], offer: Offer) -> str:
    return f"the peer {offer.peer} does not answer" if offer.peer else "the peer does not answer"


_PSK = "differs from the peer's"

# The first that is found in a line counts; a line that says too little by itself is not here.
_LINES: tuple[tuple[re.Pattern[str], Words], ...] = tuple(
    (re.compile(line), words)
    for line, words in (
        (r"received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built", _esp),
        (r"received NO_PROPOSAL_CHOSEN (?:notify error|error notify)", _ike),
        (r"received proposals: (IKE:.+)", _ike_theirs),
        (r"received proposals: (ESP:.+)", _esp_theirs),
        (r"received AUTHENTICATION_FAILED (?:notify error|error notify)", _refused),
        (r"tried \d+ shared keys? for '(.+)' - '(.+)', but MAC mismatched",
         lambda f, o: f"authentication failed: the pre-shared key for {f[1]} and {f[2]} {_PSK}"),
        (r"no shared key found for '?(.+?)'?(?:\[.+\])? - '?(.+?)'?(?:\[.+\])?$",
         lambda f, o: f"authentication failed: no pre-shared key for the identities {f[1]} (here) and {f[2]} (peer)"),
        (r"invalid HASH_V1 payload length|could not decrypt payloads|message parsing failed",
         lambda f, o: f"authentication failed: what the peer sends cannot be decrypted; the pre-shared key {_PSK}"),
        (r"constraint check failed: identity '?(.+?)'? required",
         lambda f, o: f"authentication failed: the peer does not prove to be {f[1]}"),
        (r"IDir '(.+)' does not match to '(.+)'",
         lambda f, o: f"authentication failed: the peer says it is {f[1]}, configured is {f[2]}"),
        (r"no trusted \w+ public key found for '(.+)'",
         lambda f, o: f"authentication failed: no trusted certificate of the peer for {f[1]}"),
        (r"no issuer certificate found for \"(.+)\"",
         lambda f, o: f"authentication failed: the certificate {f[1]} is from none of the CA certificates"),
        (r"subject certificate invalid \(valid from (.+) to (.+)\)",
         lambda f, o: f"authentication failed: the peer's certificate is valid from {f[1]} to {f[2]} only"),
        (r"no private key found for '(.+)'",
         lambda f, o: f"authentication failed: no private key for the certificate of {f[1]}"),
        (r"received TS_UNACCEPTABLE notify", _selectors),
        (r"traffic selectors (.+) === (.+) unacceptable", _selectors_theirs),
        (r"no matching CHILD_SA config found for (.+) === (.+)", _selectors_theirs),
        (r"received INVALID_ID_INFORMATION error notify", _selectors),
        (r"giving up after \d+ retransmits|peer not responding", _silent),
        # 'DH group … unacceptable, requesting …' is no error: the peer tries again with that one.
        (r"requested DH group (\S+) not acceptable",
         lambda f, o: f"the peer wants the key exchange group {f[1]}, which no proposal here has"),
        (r"received INVALID_SYNTAX notify error",
         lambda f, o: "the peer takes a request for malformed (INVALID_SYNTAX); libreswan does where its key exchange "
                      "group for ESP is another: configure one group for IKE and ESP on both sides"),
    )
)  # fmt: skip

# IKEv1 says the same of both phases.
_QUICK = re.compile(r"received NO_PROPOSAL_CHOSEN error notify")
_NOBODY = re.compile(r"no IKE config found for (?P<local>\S+?)\.\.\.(?P<peer>\S+?), sending")
_STRANGER = re.compile(r"looking for peer configs matching \S+\[(.+)\]\.\.\.(\S+)\[(.+)\]")
_REKEY = re.compile(r"CHILD_SA rekeying failed|received (NO_PROPOSAL_CHOSEN|INVALID_KE_PAYLOAD) notify, no CHILD_SA")
_MOST_PAIRS = 4
_POLICY = re.compile(r"error installing route with policy (\S+) === \S+ out")


def keyed(line: str) -> bool:
    """Whether a line says that an IKE SA is established; what comes after is about its children."""
    return "IKE_SA" in line and " established between " in line


def error(line: str, offer: Offer, *, keyed: bool = False) -> str:
    """What a line of charon's log means for the connection that offers `offer`; empty: no error.

    `keyed`: the IKE SA it is about is established.
    """
    if keyed and (found := _QUICK.search(line)):
        return _esp(found, offer)
    for pattern, words in _LINES:
        if found := pattern.search(line):
            return words(found, offer)
    return ""


def stranger(line: str) -> tuple[str, str, str] | None:
    """Our identity as a peer asks for it, the peer's address, and the identity it has, while charon looks for both."""
    found = _STRANGER.search(line)
    return (found[1], found[2], found[3]) if found else None


def stranger_error(own: str, theirs: str, offer: Offer) -> str:
    """In words, that a peer says it is `theirs` and asks for `own`, and no connection is for both."""
    here, there = offer.identities
    return (
        f"authentication failed: the peer says it is {theirs} and asks for {own}, "
        f"configured are {there} and {here or 'the subject of the certificate'}"
    )


def nobody(line: str) -> str:
    """Address of a peer that no connection is for; empty: no such line."""
    found = _NOBODY.search(line)
    return found["peer"] if found else ""


def nobody_error(offer: Offer) -> str:
    """In words, that a peer opens a connection of another kind than the one that is for it."""
    return f"the peer {offer.peer} asks for another version of IKE than is configured, which is IKEv{offer.version}"


def rekey_refused(line: str) -> bool:
    """Whether a line says that keys of a tunnel cannot be replaced."""
    return _REKEY.search(line) is not None


def rekey_error(offer: Offer) -> str:
    """In words, why keys of a tunnel that carries traffic cannot be replaced."""
    return (
        "the peer refuses to replace the keys of ESP: perfect forward secrecy differs, its key exchange group is not "
        f"that of {_listed(offer.esp)}; the tunnel ends with its keys"
    )


def narrowed_error(missing: Sequence[tuple[str, str]]) -> str:
    """In words, that a peer agrees to less than it is asked for; `missing` are our and its prefixes."""
    shown = ", ".join(f"{one} to {other}" for one, other in missing[:_MOST_PAIRS])
    more = f" and {len(missing) - _MOST_PAIRS} more" if len(missing) > _MOST_PAIRS else ""
    return f"no tunnel from {shown}{more}: the peer agrees to others only, its list of prefixes is not ours"


def narrowed(line: str) -> str:
    """The prefix of ours that a peer narrowed to one in which charon has no address; empty: no such line."""
    found = _POLICY.search(line)
    return found[1] if found else ""


def vague(line: str) -> bool:
    """Whether a line says less than one before it about the same IKE SA may have said."""
    return "no trusted" in line or "AUTHENTICATION_FAILED" in line
