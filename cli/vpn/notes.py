"""The comments at the top of a configuration: what it is, what to fill in, what to know."""

from __future__ import annotations

from collections.abc import Iterable

from cli.vpn.peer_config import KEY_PLACEHOLDER, TCP_MSS, TUNNEL_MTU, VpnPeer


def head(mark: str, device: str, side: VpnPeer, fill: Iterable[str], notes: Iterable[str]) -> list[str]:
    """Lines of comment, each after `mark`: first what must be filled in, then notes."""
    lines = [f"{device}: the other side of VPN connection {side.name}, whose gateway is {side.gateway_address}."]
    if filled := list(fill):
        lines += ["", "Fill in:", *(f"- {one}" for one in filled)]
    lines += ["", "To know:", *(f"- {one}" for one in (*notes, *_everywhere(side)))]
    return [f"{mark} {line}".rstrip() for line in lines]


def key_in_quotes(side: VpnPeer) -> list[str]:
    """How a pre-shared key is written between quotes, where there is one."""
    return [] if side.proof else ['In the quotes of the key, write \\" for " and \\\\ for \\.']


def key_to_fill_in(side: VpnPeer) -> list[str]:
    """What to say of the pre-shared key, where there is one."""
    return (
        [] if side.proof else [f"{KEY_PLACEHOLDER}: the pre-shared key, which cannot be read back from the appliance"]
    )


def certificates_to_install(side: VpnPeer) -> list[str]:
    """What to say of certificates, where there are any."""
    if side.proof is None:
        return []
    return [
        f"a certificate of this device that proves the identity {side.own_identity}, with its private key;"
        f" it must be from {' or '.join(side.proof.authorities)}",
        f"the certificate of the authority {side.proof.issuer}, from which the gateway's certificate"
        f" ({side.proof.subject}) is",
    ]


def whereabouts(side: VpnPeer) -> str:
    """Where the gateway expects the device."""
    if side.own_address:
        return f"The gateway expects this device at {side.own_address}; behind NAT its identities stay as they are."
    if side.own_name:
        return f"The gateway looks up {side.own_name}: that name must have this device's public address."
    return f"The gateway knows this device by its identity {side.own_identity} alone: its address does not matter."


def _everywhere(side: VpnPeer) -> list[str]:
    opens = (
        "The gateway waits: this device must open the tunnel."
        if side.opens
        else "The gateway opens the tunnel, again and again until this device answers."
    )
    return [
        opens,
        f"UDP 500, UDP 4500 and ESP (IP protocol 50) must pass between this device and {side.gateway_address}.",
        f"A packet in the tunnel has at most {TUNNEL_MTU} bytes, a TCP segment {TCP_MSS}.",
    ]
