"""What the VPN daemon says when two real charons do not agree: in words, and never with a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from certificates import Authority, Issued
from supervisor import await_condition
from vpn_lab import DRIVES, PREFIX, SECRET, SITE, Place, lab

from state.model import State
from state.vpn import Authentication, Role, TunnelState

GATEWAY, PEER = "203.0.113.10", "198.51.100.2"
AUTHORITY, STRANGER = Authority("our authority"), Authority("another authority")
OWN, THEIRS = AUTHORITY.issue("gw.example.net"), AUTHORITY.issue("hq.example.net")
V1_IKE = "aes256-sha256-modp2048"
OLD = {"ike_version": 1, "ike_proposals": (V1_IKE,), "local_prefixes": (PREFIX,)}
THEIR_OLD = {"version": "1", "proposals": [V1_IKE], "child_remote_ts": [PREFIX], "child_esp_proposals": [V1_IKE]}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with lab() as made:
        made.start()
        peer = made.peer("corp", PEER)
        gateway = made.gateway(1, GATEWAY)
        made.join(1, [peer])
        yield Place(made, gateway, peer)


@pytest.fixture(autouse=True)
def ended(place: Place) -> Iterator[None]:
    yield
    place.lab.delete("Vpn_Connection", "hq")
    await_condition(lambda: place.lab.status("vpnConnections/hq") is None, "told no more", 10)
    place.peer.kill()
    place.peer.start()


def opened(place: Place, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Both ends know the connection; the peer opens it where the gateway does not."""
    place.peer.connect(GATEWAY, **theirs)
    place.lab.connection(place.gateway, "hq", PEER, **ours)
    if ours.get("role") is Role.RESPONDER:
        await_condition(lambda: _state(place) is State.LIVE, "known to charon", 10)
        place.peer.command("initiate", {"child": "site", "timeout": "-1"})


def _state(place: Place) -> State | None:
    status = place.lab.status("vpnConnections/hq")
    return status.state if status is not None else None


def certified(own: Issued = OWN) -> dict[str, Any]:
    return {
        "authentication": Authentication.CERTIFICATE, "certificate": own.certificate, "secret": own.private_key,
        "ca_certificates": AUTHORITY.certificate, "remote_identity": "hq.example.net",
    }  # fmt: skip


def certified_peer(place: Place, issued: Issued = THEIRS, trusted: Authority = AUTHORITY) -> dict[str, Any]:
    place.peer.command("load-key", {"type": "any", "data": issued.private_key})
    return {
        "secret": "", "local": {"auth": "pubkey", "id": "hq.example.net", "certs": [issued.certificate]},
        "remote": {"auth": "pubkey", "cacerts": [trusted.certificate]},
    }  # fmt: skip


WAITS = {"role": Role.RESPONDER}
AS_INITIATOR: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "ike": ({}, {"proposals": ["aes128-sha1-modp1024"]},
            r"no proposal chosen for IKE: the peer accepts none of aes256gcm16-prfsha384-ecp384, "),
    "ike version": ({}, {"version": "1"}, r"no proposal chosen for IKE: .* or knows no connection .* by IKEv2"),
    "esp": ({"esp_proposals": ("aes256gcm16-ecp384",)}, {"child_esp_proposals": ["aes128-sha1"]},
            r"no proposal chosen for ESP: the peer accepts none of aes256gcm16-ecp384$"),
    "secret": ({}, {"secret": "quite another secret"}, r"authentication failed: the peer refuses our pre-shared key"),
    "own identity": ({"local_identity": "gw.example.net"}, {}, r"authentication failed: the peer refuses .* identity"),
    "selectors": ({}, {"child_local_ts": ["192.168.77.0/24"]},
                  rf"traffic selectors unacceptable: .* {PREFIX}, {DRIVES} here and {SITE} there"),
    "v1 ike": (OLD, THEIR_OLD | {"proposals": ["aes128-sha1-modp2048"]}, r"no proposal chosen for IKE: .* by IKEv1"),
    "v1 esp": (OLD, THEIR_OLD | {"child_esp_proposals": ["aes128-sha1"]}, r"no proposal chosen for ESP"),
    "v1 secret": (OLD, THEIR_OLD | {"secret": "quite another secret"}, r"authentication failed: .*pre-shared key"),
    "v1 selectors": (OLD, THEIR_OLD | {"child_remote_ts": ["10.8.0.0/16"]}, r"traffic selectors unacceptable"),
}  # fmt: skip
AS_RESPONDER: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "ike": ({}, {"proposals": ["aes128-sha1-modp1024"]},
            r"no proposal chosen for IKE: the peer offers IKE:AES_CBC_128/.*MODP_1024, accepted is aes256gcm16-"),
    "ike version": ({}, {"version": "1"}, rf"the peer {PEER} asks for another version of IKE .* is IKEv2"),
    "esp": ({}, {"child_esp_proposals": ["aes128-sha1"]},
            r"no proposal chosen for ESP: the peer offers ESP:AES_CBC_128/.* accepted is aes256gcm16-ecp384, "),
    "secret": ({}, {"secret": "quite another secret"},
               rf"authentication failed: the pre-shared key for {GATEWAY} and {PEER} differs"),
    "identity": ({"remote_identity": "hq.example.net"}, {},
                 rf"the peer says it is {PEER} and asks for {GATEWAY}, configured are hq.example.net and {GATEWAY}"),
    "selectors": ({}, {"child_local_ts": ["192.168.77.0/24"]},
                  rf"the peer asks for {PREFIX} {DRIVES} here and 192.168.77.0/24 there, configured is {PREFIX}"),
    "v1 secret": (OLD, THEIR_OLD | {"secret": "quite another secret"}, r"authentication failed: .*pre-shared key"),
    "v1 selectors": (OLD, THEIR_OLD | {"child_remote_ts": ["10.8.0.0/16"]}, r"traffic selectors|accept"),
}  # fmt: skip


def told(place: Place, pattern: str) -> None:
    """The error is told, the tunnel is down by it, and the connection is what was configured all the same."""
    error = place.lab.await_error("hq", pattern)
    tunnel = place.lab.tunnel("hq")
    assert (tunnel.state, tunnel.detail) == (TunnelState.DOWN, error)
    assert _state(place) is State.LIVE
    assert tunnel.error_at > 0
    assert SECRET not in place.lab.log.read_text()


@pytest.mark.parametrize("case", AS_INITIATOR)
def test_when_the_gateway_opens(place: Place, case: str) -> None:
    ours, theirs, pattern = AS_INITIATOR[case]
    opened(place, ours, theirs)
    told(place, pattern)


@pytest.mark.parametrize("case", AS_RESPONDER)
def test_when_the_peer_opens(place: Place, case: str) -> None:
    ours, theirs, pattern = AS_RESPONDER[case]
    opened(place, ours | WAITS, theirs)
    told(place, pattern)


def test_silence(place: Place) -> None:
    place.peer.kill()
    place.lab.connection(place.gateway, "hq", PEER)
    assert place.lab.await_tunnel("hq", "connecting") < 5
    told(place, rf"the peer {PEER} does not answer")


def test_what_is_put_right_is_opened(place: Place) -> None:
    opened(place, {}, {"secret": "quite another secret"})
    place.lab.await_error("hq", "authentication failed")
    place.peer.connect(GATEWAY)
    place.lab.await_tunnel("hq", "established")
    # What went wrong last is still told, as something of the past.
    assert "authentication failed" in place.lab.tunnel("hq").error
    assert place.lab.tunnel("hq").detail == ""


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("group", ["aes256gcm16-ecp256", "aes256gcm16"])
def test_perfect_forward_secrecy_that_differs(place: Place, role: Role, group: str) -> None:
    ours = {"role": role, "esp_proposals": ("aes256gcm16-ecp384",)}
    opened(place, ours, {"child_esp_proposals": [group]})
    place.lab.await_error("hq", r"perfect forward secrecy differs, .* not that of aes256gcm16-ecp384")
    assert _state(place) is State.ERROR
    assert place.lab.tunnel("hq").state is TunnelState.ESTABLISHED
    place.peer.connect(GATEWAY)
    place.lab.change("hq", esp_proposals="", revision=2)
    await_condition(lambda: _state(place) is State.LIVE, "put right", 10)
    if role is Role.RESPONDER:
        place.peer.command("initiate", {"child": "site", "timeout": "-1"})
    place.lab.await_tunnel("hq", "established")


def test_certificates_that_are_good(place: Place) -> None:
    opened(place, certified(), certified_peer(place))
    place.lab.await_tunnel("hq", "established")
    assert place.lab.tunnel("hq").error == ""
    assert "PRIVATE KEY" not in place.lab.log.read_text()


@pytest.mark.parametrize(
    ("issued", "trusted", "pattern"),
    [
        (AUTHORITY.issue("hq.example.net", -3), AUTHORITY, r"the peer's certificate is valid from .* to .* only"),
        (STRANGER.issue("hq.example.net"), AUTHORITY, r"the certificate CN=hq.example.net is from none of the CA"),
        (THEIRS, STRANGER, r"authentication failed: the peer refuses our certificate"),
    ],
)
def test_certificates_that_are_not(place: Place, issued: Issued, trusted: Authority, pattern: str) -> None:
    opened(place, certified(), certified_peer(place, issued, trusted))
    told(place, pattern)


def test_an_own_certificate_that_has_expired(place: Place) -> None:
    opened(place, certified(AUTHORITY.issue("gw.example.net", -3)), certified_peer(place))
    await_condition(lambda: _state(place) is State.ERROR, "cannot work", 10)
    status = place.lab.status("vpnConnections/hq")
    assert status is not None
    assert "the gateway's certificate expired at" in status.detail


def test_a_secret_sealed_with_another_key(place: Place) -> None:
    place.lab.connection(place.gateway, "hq", PEER)
    place.lab.change("hq", secret="gAAAAABnot-ours", revision=2)
    await_condition(lambda: _state(place) is State.ERROR, "cannot work", 10)
    status = place.lab.status("vpnConnections/hq")
    assert status is not None
    assert status.detail == "the secret was sealed with another key"
    assert "gAAAAABnot-ours" not in place.lab.log.read_text()


def test_both_prefixes_by_ikev1(place: Place) -> None:
    ours = OLD | {"remote_prefixes": (SITE, "192.168.51.0/24")}
    theirs = THEIR_OLD | {"child_local_ts": [SITE, "192.168.51.0/24"]}
    # The peer's charon takes any pair of what it has.
    opened(place, ours, theirs)
    place.lab.await_tunnel("hq", "established")


@pytest.mark.parametrize("role", list(Role))
def test_a_peer_that_wants_less_gets_it(place: Place, role: Role) -> None:
    opened(place, {"role": role}, {"child_remote_ts": ["10.9.3.0/24", "10.250.0.10/32"]})
    if role is Role.RESPONDER:
        await_condition(lambda: bool(place.lab.tunnel("hq")), "told", 5)
        place.peer.command("initiate", {"child": "site", "timeout": "-1"})
    place.lab.await_tunnel("hq", "established")
