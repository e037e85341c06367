"""Lines of charon's log in words; those that two real charons write are in tests/vpn."""

from __future__ import annotations

import pytest

from vpn import diagnostics

OFFER = diagnostics.Offer("198.51.100.2", ("aes256-sha256-modp2048",), ("aes256gcm16-ecp384",), ("10.9.0.0/16",),
                    ("192.168.50.0/24",), ("gw", "hq"))  # fmt: skip


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("no shared key found for 'gw' - 'hq'", "no pre-shared key for the identities gw (here) and hq (peer)"),
        ("no private key found for 'gw'", "no private key for the certificate of gw"),
        ("constraint check failed: identity 'hq' required", "the peer does not prove to be hq"),
        ("IDir 'branch' does not match to 'hq'", "the peer says it is branch, configured is hq"),
        ("requested DH group MODP_1024 not acceptable", "wants the key exchange group MODP_1024"),
        (
            "received INVALID_SYNTAX notify error, destroying IKE_SA",
            "configure one group for IKE and ESP on both sides",
        ),
        ("peer not responding, trying again (2/0)", "the peer 198.51.100.2 does not answer"),
        ("no matching CHILD_SA config found for 10.8.0.0/16 === 192.168.50.0/24", "asks for 10.8.0.0/16 here"),
    ],
)
def test_errors(line: str, expected: str) -> None:
    assert expected in diagnostics.error(line, OFFER)


@pytest.mark.parametrize(
    "line",
    [
        "selected proposal: IKE:AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048",
        "IKE_SA hq[1] established between 203.0.113.10[gw]...198.51.100.2[hq]",
        "peer didn't accept DH group ECP_384, it requested MODP_2048",
        # libreswan opens with its first group; the next message has ours.
        "DH group MODP_2048 unacceptable, requesting ECP_384",
        "sending DPD request",
        "",
    ],
)
def test_what_is_no_error(line: str) -> None:
    assert diagnostics.error(line, OFFER) == ""


def test_the_same_refusal_after_ike_is_about_esp() -> None:
    line = "received NO_PROPOSAL_CHOSEN error notify"
    assert "IKE: the peer accepts none of aes256-sha256-modp2048" in diagnostics.error(line, OFFER)
    assert "ESP: the peer accepts none of aes256gcm16-ecp384" in diagnostics.error(line, OFFER, keyed=True)


def test_who_nobody_is_for() -> None:
    assert diagnostics.nobody("no IKE config found for 203.0.113.10...198.51.100.9, sending NO_PROPOSAL_CHOSEN") == (
        "198.51.100.9"
    )
    assert diagnostics.nobody("sending DPD request") == ""
    line = "looking for peer configs matching 203.0.113.10[gw]...198.51.100.9[branch]"
    assert diagnostics.stranger(line) == ("gw", "198.51.100.9", "branch")
    assert "says it is branch and asks for gw, configured are hq and gw" in diagnostics.stranger_error(
        "gw", "branch", OFFER
    )


def test_a_prefix_without_an_address() -> None:
    line = "error installing route with policy 10.9.3.0/24 === 192.168.50.0/24 out"
    assert diagnostics.narrowed(line) == "10.9.3.0/24"
    assert diagnostics.narrowed("installing route: 192.168.50.0/24 src 10.9.0.1 dev ipsec0") == ""
