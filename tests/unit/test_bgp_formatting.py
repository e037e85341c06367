"""What went wrong with a session in words, from what FRR and the kernel say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.formatting import (
    NoSession,
    Reset,
    as_of_open,
    is_wrong_as,
    notification,
    of_reset,
    of_silence,
    reset,
    their_as,
)
from state.interconnect import Interconnect, InterconnectKind

SENT, RECEIVED = "BGP Notification send", "BGP Notification received"
# As bgpd 8.4.4 shows the OPEN of a peer in AS 4200000009.
SHOWN = """
  Last reset 00:00:03,  Notification sent (OPEN Message Error/Bad Peer AS)
  Message received that caused BGP to send a NOTIFICATION:
    FFFFFFFF FFFFFFFF FFFFFFFF FFFFFFFF
    005E0104 5BA00009 A9FE0102 41020601
    04000100 01020280 00020202 00020246
    00020641 04FA56EA 09020206 00020645
    04000101 01020649 0402766D 00020440
    02C07802 09470700 01018000 0000
  External BGP neighbor may be up to 1 hops away.
"""


def interconnect(**fields: Any) -> Interconnect:
    """One to 192.0.2.2 in AS 65001 on xc1/vlan=7."""
    return Interconnect(
        name="i", kind=InterconnectKind.DIRECT_CONNECT, number=1, slot=1, port="xc1", vlan=7,
        local_address="192.0.2.1/30", peer_address="192.0.2.2", local_as=64512, peer_as=65001, **fields,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("due", "code", "words"),
    [
        ("", "", ""),
        ("Waiting for peer OPEN", "", ""),
        ("No AFI/SAFI activated for peer", "", ""),
        (SENT, "0607", ""),
        (SENT, "0400", "hold timer expired: the peer was silent for 9 s"),
        (SENT, "060A", "BFD down: the peer was silent for 3 times 100 ms"),
        ("BFD down received", "", "BFD down: the peer was silent for 3 times 100 ms"),
        (RECEIVED, "060A", "the peer closed the session: by its BFD the appliance is not reached"),
        (SENT, "0202", "wrong AS: the peer has another AS, configured is 65001"),
        (RECEIVED, "0202", "wrong AS: the peer does not expect AS 64512, which is configured here"),
        (SENT, "0601", "the peer announced more than 100 prefixes"),
        (RECEIVED, "0601", "the peer closed the session: it takes fewer prefixes than are announced to it"),
        (RECEIVED, "0400", "the peer closed the session: it heard nothing for its hold time"),
        (RECEIVED, "0602", "the peer closed the session: administrative shutdown"),
        (RECEIVED, "0603", "the peer closed the session: it is no longer configured there"),
        (RECEIVED, "0609", "the peer closed the session: hard reset"),
        (RECEIVED, "0501", "the peer closed the session: as it says"),
        (SENT, "0301", "the appliance closed the session: as it says"),
        ("Peer closed the session", "", "the peer closed the connection without saying why"),
        ("Interface down", "", "the session was closed: Interface down"),
    ],
)
def test_resets(due: str, code: str, words: str) -> None:
    assert of_reset(Reset(due, code, "as it says"), interconnect()) == words


def test_a_notification_without_words_has_its_number() -> None:
    said = of_reset(Reset(RECEIVED, "0999"), interconnect())
    assert said == "the peer closed the session: notification 0999"


def test_the_as_of_the_peer_is_told() -> None:
    assert is_wrong_as(Reset(SENT, "0202"))
    assert not is_wrong_as(Reset(RECEIVED, "0202"))
    words = "wrong AS: the peer says it is AS 4200000009, configured is 65001"
    assert of_reset(Reset(SENT, "0202"), interconnect(), their_as(SHOWN)) == words
    assert their_as("  Last reset 00:00:03,  Peer closed the session") == 0


def test_an_open_without_capabilities_has_two_bytes_of_as() -> None:
    message = b"\xff" * 16 + b"\0\x1d\x01" + b"\x04\xfd\xf1\0\x09\xc0\0\x02\x02\0"
    assert as_of_open(message) == 65009


@given(st.binary(max_size=120))
def test_no_open_breaks_it(rest: bytes) -> None:
    assert as_of_open(b"\xff" * 16 + b"\0\0\x01" + rest) >= 0


@pytest.mark.parametrize(
    ("seen", "password", "words"),
    [
        (NoSession(), "", ""),
        (NoSession(arp=True), "", ""),
        (NoSession(arp=False), "", "the peer 192.0.2.2 does not answer ARP on xc1/vlan=7"),
        (NoSession(arp=False, tcp="silent"), "", "the peer 192.0.2.2 does not answer ARP on xc1/vlan=7"),
        (NoSession(True, "silent", other_password=1), "x", "the password of TCP MD5 differs from the peer's"),
        (NoSession(True, "open", no_password=1), "x",
         "the peer does not use the password of TCP MD5 that is configured here"),
        # A host without BGP answers by resets that are not signed, as one that only connects.
        (NoSession(True, "refused", no_password=1), "x",
         "the peer 192.0.2.2 refuses connections to TCP port 179: BGP does not run there, or only connects, "
         "without the password"),
        (NoSession(True, "refused", speaks=True), "", ""),
        (NoSession(True, "silent", unexpected_password=1), "",
         "the peer uses a password of TCP MD5, and none is configured here"),
        (NoSession(True, "refused"), "",
         "the peer 192.0.2.2 refuses connections to TCP port 179: BGP does not run there"),
        (NoSession(True, "silent"), "",
         "the peer 192.0.2.2 answers ARP, but not TCP port 179: a filter is in the way, or it expects a password"),
        (NoSession(True, "silent"), "x",
         "the peer 192.0.2.2 answers ARP, but not TCP port 179: a filter is in the way, or the passwords differ"),
        (NoSession(True, "open"), "x", "the peer 192.0.2.2 takes connections without a password only"),
        (NoSession(True, "open"), "", ""),
    ],
)  # fmt: skip
def test_silence(seen: NoSession, password: str, words: str) -> None:
    assert of_silence(seen, interconnect(password=password)) == words


LOGGED = "2026/11/28 17:17:48 BGP: [H7QV4-WR3ZD] %NOTIFICATION"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (': received from neighbor 192.0.2.2 6/2 (Cease/Administrative Shutdown) "to \'rack\' "7""',
         "the peer closed the session: administrative shutdown: 'to 'rack' \"7\"'"),
        (": received from neighbor 192.0.2.2 6/2 (Cease/Administrative Shutdown) 0 bytes ",
         "the peer closed the session: administrative shutdown"),
        ("(Hard Reset): received from neighbor 192.0.2.2 6/4 (Cease/Administrative Reset) 0 bytes ",
         "the peer closed the session: administrative reset"),
        (": received from neighbor 192.0.2.2 2/2 (OPEN Message Error/Bad Peer AS) 2 bytes fc 00",
         "wrong AS: the peer does not expect AS 64512, which is configured here"),
        (": sent to neighbor 192.0.2.2 2/2 (OPEN Message Error/Bad Peer AS) 2 bytes f",
         "wrong AS: the peer has another AS, configured is 65001"),
        (": sent to neighbor 192.0.2.2 3/1 (UPDATE Message Error/Malformed Attribute List) 0 bytes ",
         "the appliance closed the session: UPDATE Message Error/Malformed Attribute List"),
    ],
)  # fmt: skip
def test_what_bgpd_logs_of_a_notification(line: str, words: str) -> None:
    found = notification(LOGGED + line)
    assert found is not None
    assert of_reset(found, interconnect()) == words


@pytest.mark.parametrize(
    "line",
    [
        "2026/11/28 17:17:48 BGP: [PXVXG-TFNNT] %ADJCHANGE: neighbor 192.0.2.2(Unknown) in vrf default Down",
        # One of two connections was too many; or it was closed here.
        f"{LOGGED}: received from neighbor 192.0.2.2 6/7 (Cease/Connection Collision Resolution) 0 bytes ",
        f"{LOGGED}: sent to neighbor 192.0.2.2 6/2 (Cease/Administrative Shutdown) 0 bytes ",
        "",
    ],
)
def test_other_lines_of_bgpds_log_say_nothing(line: str) -> None:
    assert notification(line) is None


def test_what_bgpd_shows_of_a_reset() -> None:
    shown = {
        "lastResetDueTo": RECEIVED, "lastErrorCodeSubcode": "0602", "lastNotificationReason": "Cease/...",
        "connectionsDropped": 3, "messageStats": {"notificationsSent": 1, "notificationsRecv": 2},
    }  # fmt: skip
    assert reset(shown) == Reset(RECEIVED, "0602", "Cease/...", (1, 2, 3))
    assert reset({}) == Reset()
