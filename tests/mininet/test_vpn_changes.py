"""What changes on a VPN: secrets, prefixes, peers, versions; what goes wrong is said, and others are not disturbed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
from certificates import Authority, Issued
from corporate import CorporateSite
from digs import told
from name_server import NameServer
from namespaces import within
from pinging import pinging
from probes import ask_udp
from sandbox import Sandbox
from supervisor import await_condition
from vpn_gateway import VpnConnection, VpnTunnel
from vpn_world import PREFIX, SECRET, SITE_PREFIX, Tenancy, World, only_sealed, peering_of, vpn_world

from sluice.v1 import status_pb2
from sluice.v1.vpn_connection_pb2 import VpnCertificate

__all__ = ["vpn_world"]

BRANCH_PREFIX = "192.168.60.0/24"
GATEWAY_NAME, SITE_NAME = "gateway.example.com", "branch.example.com"


@pytest.fixture(scope="module")
def branch(sandbox: Sandbox, vpn_world: World) -> Iterator[CorporateSite]:
    """Another site of the first tenant; tests make connections to it."""
    site = CorporateSite(sandbox, "branch", BRANCH_PREFIX, 7)
    site.start()
    yield site
    site.close()


@contextmanager
def connected(world: World, site: CorporateSite, **fields: object) -> Iterator[str]:
    """A connection of the first tenant's gateway to a site that is configured already."""
    world.vpn.connect(site.name, "files-gw", [site.prefix], **{"peer": site.address, "pre_shared_key": SECRET} | fields)
    try:
        yield site.name
    finally:
        world.vpn.disconnect(site.name)
        site.forget(site.name)


def tunnel_of(world: World, name: str) -> VpnTunnel:
    return world.vpn.connection(name).tunnel


def await_error(world: World, name: str, words: str, seconds: float = 10) -> str:
    """Wait until the last error of a connection has `words` in it; all of it."""
    await_condition(lambda: words in tunnel_of(world, name).last_error, words, seconds, 0.05)
    return tunnel_of(world, name).last_error


def reaches(tenancy: Tenancy, site: CorporateSite, seconds: float = 0.7) -> bool:
    """Whether a machine reaches a site's PC and is reached."""
    machine = tenancy.machines[0]
    there = ask_udp(machine.pid, [site.pc_address], seconds).get(site.pc_address)
    back = ask_udp(site.pc.pid, [machine.address], seconds).get(machine.address)
    return there is not None and there.name == site.pc.name and back is not None and back.name == machine.name


@pytest.mark.alone
def test_a_change_of_one_connection_disturbs_no_other(
    sandbox: Sandbox, vpn_world: World, branch: CorporateSite
) -> None:
    one = vpn_world.one
    branch.connect(branch.name, peering_of(one.gateway, branch))
    own, others = one.machines[0], vpn_world.two.machines[0]
    with pinging(own, one.site.pc_address) as going, pinging(others, one.site.pc_address) as other:
        with connected(vpn_world, branch) as name:
            vpn_world.vpn.seconds_until_established(name)
            assert reaches(one, branch)
            vpn_world.vpn.change(name, {"pre_shared_key": "another pre-shared key"})
            await_error(vpn_world, name, "authentication")
            branch.connect(name, replace(peering_of(one.gateway, branch), secret="another pre-shared key"))
            vpn_world.vpn.seconds_until_established(name, 40)
            assert reaches(one, branch)
            vpn_world.vpn.change(name, {"dpd_seconds": 5})
        assert not reaches(one, branch, 0.3)
    assert going()[0] == 0
    assert other()[0] == 0


def test_a_new_prefix_is_reached_and_an_old_one_is_not(vpn_world: World, branch: CorporateSite) -> None:
    one = vpn_world.one
    both = replace(peering_of(one.gateway, branch), local=[BRANCH_PREFIX, "192.168.61.0/24"])
    branch.connect(branch.name, both)
    with connected(vpn_world, branch) as name:
        vpn_world.vpn.seconds_until_established(name)
        assert reaches(one, branch)
        vpn_world.vpn.change(name, {"remote_prefixes": ["192.168.61.0/24"]})
        vpn_world.vpn.seconds_until_established(name)
        assert not reaches(one, branch, 0.3)
        vpn_world.vpn.change(name, {"remote_prefixes": [BRANCH_PREFIX, "192.168.61.0/24"]})
        vpn_world.vpn.seconds_until_established(name)
        await_condition(lambda: reaches(one, branch), "reached again", 5)


@pytest.mark.alone
def test_keys_are_replaced_under_traffic(sandbox: Sandbox, vpn_world: World) -> None:
    one = vpn_world.one
    with only_sealed(sandbox), pinging(one.machines[0], one.site.pc_address) as going:
        before = _spis(one)
        for _ in range(3):
            one.site.rekey(one.site.name)
            await_condition(lambda seen=before: not (seen & _spis(one)), "new keys", 5)
            before = _spis(one)
    assert going()[0] == 0
    assert tunnel_of(vpn_world, one.site.name).state == VpnTunnel.ESTABLISHED


def _spis(tenancy: Tenancy) -> set[bytes]:
    """SPIs in use at the site, of IKE and ESP."""
    found: set[bytes] = set()
    with tenancy.site.session() as session:
        for one in session.list_sas():
            for sa in one.values():
                found.add(sa["initiator-spi"])
                found |= {child["spi-in"] for child in sa["child-sas"].values() if child["state"] == b"INSTALLED"}
    return found


def test_a_wrong_secret_is_said_and_mended(vpn_world: World, branch: CorporateSite) -> None:
    branch.connect(branch.name, peering_of(vpn_world.one.gateway, branch))
    with connected(vpn_world, branch, pre_shared_key="not the one they know") as name:
        said = await_error(vpn_world, name, "authentication")
        assert "pre-shared key" in said
        assert "not the one" not in said
        assert tunnel_of(vpn_world, name).state in (VpnTunnel.DOWN, VpnTunnel.CONNECTING)
        assert not reaches(vpn_world.one, branch, 0.3)
        vpn_world.vpn.change(name, {"pre_shared_key": SECRET})
        vpn_world.vpn.seconds_until_established(name)
        assert reaches(vpn_world.one, branch)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ike_proposals": ("aes128-sha256-modp3072",)}, "IKE"),
        ({"esp_proposals": ("aes128-sha256",)}, "ESP"),
        ({"local": ("192.168.99.0/24",)}, "traffic selectors"),
    ],
)
def test_what_the_peer_refuses_is_said(
    vpn_world: World, branch: CorporateSite, change: dict[str, tuple[str, ...]], words: str
) -> None:
    branch.connect(branch.name, replace(peering_of(vpn_world.one.gateway, branch), **change))  # type: ignore[arg-type]
    with connected(vpn_world, branch, esp_proposals=["aes256gcm16-ecp384"]) as name:
        await_error(vpn_world, name, words)


def test_a_peer_that_is_not_there_is_said(vpn_world: World) -> None:
    world = vpn_world
    world.vpn.connect("nowhere", "files-gw", ["192.168.70.0/24"], peer="198.51.100.200", pre_shared_key=SECRET)
    try:
        await_error(world, "nowhere", "does not answer", 15)
        assert tunnel_of(world, "nowhere").state != VpnTunnel.ESTABLISHED
    finally:
        world.vpn.disconnect("nowhere")


def test_a_pfs_mismatch_is_said_at_once(vpn_world: World, branch: CorporateSite) -> None:
    peering = peering_of(vpn_world.one.gateway, branch)
    branch.connect(branch.name, replace(peering, esp_proposals=("aes256-sha256-modp3072",)))
    with connected(vpn_world, branch, esp_proposals=["aes256-sha256-modp2048"]) as name:
        await_condition(
            lambda: vpn_world.vpn.connection(name).status.state == status_pb2.Status.ERROR, "said in its status", 10
        )
        assert "forward secrecy" in vpn_world.vpn.connection(name).status.detail


def test_an_old_peer(vpn_world: World, branch: CorporateSite) -> None:
    old = ("aes256-sha256-modp2048",)
    site = peering_of(vpn_world.one.gateway, branch)
    # Such peers take one pair of prefixes for each tunnel.
    branch.connect(branch.name, replace(site, version=1, ike_proposals=old, esp_proposals=old, remote=[PREFIX]))
    with connected(vpn_world, branch, ike_version=VpnConnection.IKE_V1, local_prefixes=[PREFIX]) as name:
        vpn_world.vpn.seconds_until_established(name)
        assert reaches(vpn_world.one, branch)


def test_a_gateway_that_waits_for_a_peer_of_any_address(vpn_world: World, branch: CorporateSite) -> None:
    site = replace(peering_of(vpn_world.one.gateway, branch), start="start", local_identity="branch.example.com")
    fields = {"peer": "", "remote_identity": "branch.example.com", "role": VpnConnection.RESPONDER}
    with connected(vpn_world, branch, **fields) as name:
        assert tunnel_of(vpn_world, name).state == VpnTunnel.DOWN
        branch.connect(branch.name, site)
        vpn_world.vpn.seconds_until_established(name)
        assert reaches(vpn_world.one, branch)
        assert tunnel_of(vpn_world, name).peer_address == branch.address


def test_a_peer_by_name(sandbox: Sandbox, vpn_world: World, branch: CorporateSite) -> None:
    assert sandbox.upstream is not None
    known = sandbox.upstream.names
    sandbox.upstream.names = {**known, "branch.example.com": (f"A {branch.address}",)}
    site = replace(peering_of(vpn_world.one.gateway, branch), local_identity="branch.example.com")
    branch.connect(branch.name, site)
    try:
        with connected(vpn_world, branch, peer="branch.example.com") as name:
            vpn_world.vpn.seconds_until_established(name)
            assert reaches(vpn_world.one, branch)
    finally:
        sandbox.upstream.names = known


def site_by_certificate(world: World, site: CorporateSite, own: Issued, authority: Authority) -> None:
    """Have a site prove who it is by `own`, and believe the gateway what `authority` says."""
    names = GATEWAY_NAME, SITE_NAME
    site.connect_by_certificate(
        site.name, peering_of(world.one.gateway, site), own.certificate, own.private_key, authority.certificate,
        own=names[1], peer=names[0],
    )  # fmt: skip


def by_certificate(own: Issued, authority: Authority) -> dict[str, object]:
    """Fields of a connection with certificates."""
    certificate = VpnCertificate(
        certificate_pem=own.certificate, private_key_pem=own.private_key, ca_certificates_pem=authority.certificate
    )
    identities = {"local_identity": GATEWAY_NAME, "remote_identity": SITE_NAME}
    return {"pre_shared_key": "", "certificate": certificate, **identities}


def test_certificates(vpn_world: World, branch: CorporateSite) -> None:
    authority = Authority("Example CA")
    ours, theirs = authority.issue(GATEWAY_NAME), authority.issue(SITE_NAME)
    site_by_certificate(vpn_world, branch, theirs, authority)
    with connected(vpn_world, branch, **by_certificate(ours, authority)) as name:
        vpn_world.vpn.seconds_until_established(name)
        assert reaches(vpn_world.one, branch)
        assert not vpn_world.vpn.connection(name).certificate.private_key_pem


def test_a_certificate_of_another_authority_is_refused_and_said(vpn_world: World, branch: CorporateSite) -> None:
    ours, stranger = Authority("Example CA"), Authority("Somebody else")
    mine, theirs = ours.issue(GATEWAY_NAME), stranger.issue(SITE_NAME)
    site_by_certificate(vpn_world, branch, theirs, ours)
    with connected(vpn_world, branch, **by_certificate(mine, ours)) as name:
        await_error(vpn_world, name, "certificate")
        assert tunnel_of(vpn_world, name).state != VpnTunnel.ESTABLISHED


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = caught.value
    assert isinstance(error, grpc.Call)
    return error.code(), error.details() or ""


def test_prefixes_that_overlap_are_refused(vpn_world: World) -> None:
    for prefix, why in ((PREFIX, PREFIX), ("192.168.50.128/25", "hq0"), ("10.250.0.0/16", "10.250.0.0/24")):
        code, said = refused(
            lambda p=prefix: vpn_world.vpn.connect("again", "files-gw", [p], peer="198.51.100.9", pre_shared_key=SECRET)
        )
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.ALREADY_EXISTS)
        assert why in said


def test_names_across(sandbox: Sandbox, vpn_world: World) -> None:
    """Each tenant's rule for one domain names the same address; each is told by its own office."""
    servers = []
    try:
        for tenancy in vpn_world.both:
            servers.append(office_names(tenancy))
            sandbox.update_network(tenancy.network, forwarding={"corp.example": [tenancy.site.pc_address]})
        for tenancy, server in zip(vpn_world.both, servers, strict=True):
            assert told(tenancy.machines[0], "dc1.corp.example").data == [server.names["dc1.corp.example"][0][2:]]
            assert server.heard == ["dc1.corp.example a"]
        # Not outside, not even while the tunnel is down.
        assert sandbox.upstream is not None
        assert not [name for name in sandbox.upstream.heard if "corp.example" in name]
    finally:
        for server in servers:
            server.close()


def office_names(tenancy: Tenancy) -> NameServer:
    """The site's own name server, on its PC."""
    number = 1 if tenancy.site.name == "hq0" else 2
    names = {"dc1.corp.example": (f"A 192.168.50.{number}",)}
    return NameServer(tenancy.site.pc_address, names, within=lambda call: within(tenancy.site.pc.pid, call))


def test_another_network_does_not_ask_the_office(vpn_world: World) -> None:
    code, said = refused(
        lambda: vpn_world.vpn.connect("x", "till-gw", [SITE_PREFIX], peer="198.51.100.9", pre_shared_key=SECRET)
    )
    assert code == grpc.StatusCode.ALREADY_EXISTS
    assert "hq1" in said
