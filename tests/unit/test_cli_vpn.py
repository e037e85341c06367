"""sluicectl vpn against an API in memory: gateways, connections, and how secrets come in."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from fake_api import FakeApi, Sluicectl, api, sluicectl
from fake_vpn import berlin, head
from google.protobuf.timestamp_pb2 import Timestamp

from cli.main import run
from sluice.v1 import status_pb2
from sluice.v1 import vpn_connection_pb2 as pb
from sluice.v1.status_pb2 import Status

__all__ = ["api", "sluicectl"]
SECRET = 'correct horse "battery" 1'
CREATE = ("vpn", "connections", "create", "berlin", "--gateway", "head", "--remote-prefix", "192.168.10.0/24")


@pytest.fixture
def key(tmp_path: Path) -> str:
    """A file with a pre-shared key on a line of its own."""
    file = tmp_path / "key"
    file.write_text(SECRET + "\n")
    return str(file)


class Terminal(io.StringIO):
    """What stdin is to somebody who sits before it."""

    def isatty(self) -> bool:
        return True


def stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def tunnel(state: pb.VpnTunnel.State.ValueType, **more: object) -> pb.VpnTunnel:
    since = Timestamp()
    since.FromJsonString("2026-11-23T10:00:00Z")
    return pb.VpnTunnel(state=state, since_time=since, **more)  # type: ignore[arg-type]


def changed(connection: pb.VpnConnection) -> pb.VpnConnectionEvent:
    return pb.VpnConnectionEvent(type=status_pb2.UPDATED, vpn_connection=connection)


def test_gateways_are_listed_over_all_pages(api: FakeApi, sluicectl: Sluicectl) -> None:
    for number in range(5):
        gateway = head(name=f"vpnGateways/g{number}", network=f"networks/n{number}")
        api.vpn_gateways[gateway.name] = gateway
    lines = sluicectl("vpn", "gateways", "list").out.splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["g0", "n0", "203.0.113.70"], ["g1", "n1", "203.0.113.70"]]
    assert len(lines) == 6
    (found,) = sluicectl("vpn", "gateways", "list", "--network", "n3", "-o", "json").json()
    assert found["name"] == "vpnGateways/g3"


def test_lists_that_are_empty_say_so(sluicectl: Sluicectl) -> None:
    assert sluicectl("vpn", "gateways", "list").err == "no VPN gateways\n"
    assert sluicectl("vpn", "connections", "list").err == "no VPN connections\n"


def test_create_gateway_sends_what_was_given(api: FakeApi, sluicectl: Sluicectl) -> None:
    done = sluicectl("vpn", "gateways", "create", "head", "--network", "office", "--address", "203.0.113.70", "--wait")
    assert done.code == 0
    asked = api.last()
    assert (asked.vpn_gateway_id, asked.vpn_gateway.network, asked.vpn_gateway.address, asked.wait_live) == (
        "head", "networks/office", "203.0.113.70", True,
    )  # fmt: skip
    assert asked.request_id


def test_a_network_that_cannot_have_a_gateway_is_told_with_the_reason(sluicectl: Sluicectl) -> None:
    done = sluicectl("vpn", "gateways", "create", "head", "--network", "shop")
    assert done.code == 1
    assert "networks/shop: is ISOLATED; allowed: a PRIVATE one" in done.err


def test_waiting_fails_when_the_gateway_is_not_live(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.new_status = Status(state=Status.PENDING, detail="waiting for the VPN daemon to start its IKE daemon")
    done = sluicectl("vpn", "gateways", "create", "head", "--network", "office", "--wait")
    assert done.code == 1
    assert "waiting for the VPN daemon" in done.err


def test_show_and_delete_gateways(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.vpn_gateways["vpnGateways/head"] = head()
    assert "203.0.113.70" in sluicectl("vpn", "gateways", "show", "vpnGateways/head").out
    done = sluicectl("vpn", "gateways", "delete", "head", "other")
    assert (done.code, done.out) == (1, "vpnGateways/head deleted\n")
    assert "no VPN gateway vpnGateways/other (NOT_FOUND)" in done.err


def test_watch_gateways(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.vpn_gateways["vpnGateways/head"] = head()
    lines = sluicectl("vpn", "gateways", "watch", "--network", "office").out.splitlines()
    assert [line.split()[0] for line in lines] == ["existing", "--", "created"]
    assert api.last().network == "networks/office"


def test_connections_are_listed_with_their_tunnels(api: FakeApi, sluicectl: Sluicectl) -> None:
    error = "the peer refused our identity or key (AUTHENTICATION_FAILED)"
    api.vpn_connections["vpnConnections/berlin"] = berlin(tunnel=tunnel(pb.VpnTunnel.DOWN, last_error=error))
    api.vpn_connections["vpnConnections/paris"] = berlin(
        name="vpnConnections/paris", peer="", remote_identity="paris@example.com",
        remote_prefixes=["192.168.20.0/24", "192.168.21.0/24"],
    )  # fmt: skip
    api.vpn_connections["vpnConnections/rome"] = berlin(name="vpnConnections/rome", gateway="vpnGateways/other")
    lines = sluicectl("vpn", "connections", "list", "--gateway", "head").out.splitlines()
    assert lines[0].split("  ")[0] == "NAME"
    assert lines[1].split()[:7] == [
        "berlin", "head", "198.51.100.7", "192.168.10.0/24", "live", "down", "2026-11-23T10:00:00Z",
    ]  # fmt: skip
    assert lines[1].endswith(error)
    assert "any (paris@example.com)" in lines[2]
    assert "192.168.20.0/24, 192.168.21.0/24" in lines[2]
    assert len(lines) == 3


def test_show_says_everything_and_counts(api: FakeApi, sluicectl: Sluicectl) -> None:
    seen = tunnel(pb.VpnTunnel.ESTABLISHED, bytes_in=11, packets_in=2, bytes_out=33, packets_out=4,
                  peer_address="198.51.100.9", ike_proposal="AES_CBC-256/HMAC_SHA2_256_128")  # fmt: skip
    api.vpn_connections["vpnConnections/berlin"] = berlin(tunnel=seen)
    out = sluicectl("vpn", "connections", "show", "berlin", "--wait").out
    assert api.last() == pb.GetVpnConnectionRequest(name="vpnConnections/berlin", wait_live=True)
    fields = dict(re.split(" {2,}", line, maxsplit=1) for line in out.splitlines())
    assert (fields["from the peer"], fields["to the peer"]) == ("11 bytes, 2 packets", "33 bytes, 4 packets")
    assert (fields["tunnel"], fields["peer address"]) == ("established", "198.51.100.9")
    assert (fields["IKE"], fields["opened by"], fields["authentication"]) == (
        "version 2", "the gateway", "pre-shared key",
    )  # fmt: skip
    assert set(sluicectl("vpn", "connections", "show", "berlin", "-o", "json").json()["tunnel"]) >= {
        "bytesIn", "packetsOut", "state", "sinceTime",
    }  # fmt: skip


def test_create_connection_sends_what_was_given(api: FakeApi, sluicectl: Sluicectl, key: str) -> None:
    done = sluicectl(
        *CREATE, "--remote-prefix", "192.168.11.0/24", "--local-prefix", "10.0.1.0/24", "--peer", "vpn.example.com",
        "--psk-file", key, "--local-identity", "head.example.net", "--remote-identity", "vpn@example.com",
        "--ike-version", "1", "--responder", "--ike-proposal", "3des-sha1-modp1024", "--esp-proposal", "aes256-sha256",
        "--esp-proposal", "aes128-sha256", "--allow-weak", "--dpd", "5", "--ike-lifetime", "28800",
        "--child-lifetime", "1800", "--wait",
    )  # fmt: skip
    assert done.code == 0
    asked = api.last()
    assert (asked.vpn_connection_id, asked.wait_live, bool(asked.request_id)) == ("berlin", True, True)
    assert asked.vpn_connection == pb.VpnConnection(
        gateway="vpnGateways/head", peer="vpn.example.com", local_identity="head.example.net",
        remote_identity="vpn@example.com", pre_shared_key=SECRET, local_prefixes=["10.0.1.0/24"],
        remote_prefixes=["192.168.10.0/24", "192.168.11.0/24"], ike_version=pb.VpnConnection.IKE_V1,
        role=pb.VpnConnection.RESPONDER, ike_proposals=["3des-sha1-modp1024"],
        esp_proposals=["aes256-sha256", "aes128-sha256"], allow_weak_algorithms=True, dpd_seconds=5,
        ike_lifetime_seconds=28800, child_lifetime_seconds=1800,
    )  # fmt: skip


@pytest.mark.parametrize("form", [[], ["-o", "json"]], ids=["table", "json"])
def test_the_key_is_never_written(api: FakeApi, sluicectl: Sluicectl, key: str, form: list[str]) -> None:
    for done in (
        sluicectl(*CREATE, "--psk-file", key, *form),
        sluicectl("vpn", "connections", "set", "berlin", "--psk-file", key, *form),
        sluicectl("vpn", "connections", "show", "berlin", *form),
        sluicectl("vpn", "connections", "list", *form),
    ):
        assert done.code == 0
        assert "horse" not in done.out + done.err


@pytest.mark.parametrize("option", ["--psk", "--pre-shared-key", "--key"])
def test_the_key_is_no_argument(api: FakeApi, sluicectl: Sluicectl, option: str) -> None:
    done = sluicectl(*CREATE, option, "horse battery")
    assert (done.code, api.requests) == (2, [])
    assert "horse" not in done.out + done.err


def test_the_key_from_stdin(api: FakeApi, sluicectl: Sluicectl, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, SECRET + "\r\n")
    assert sluicectl(*CREATE, "--psk-file", "-").code == 0
    assert api.last().vpn_connection.pre_shared_key == SECRET


@pytest.mark.parametrize("given", [[], ["--psk-file", "-"]], ids=["nothing", "stdin"])
def test_on_a_terminal_the_key_is_asked_for_without_echo(
    api: FakeApi, sluicectl: Sluicectl, monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> None:
    asked = []

    def hidden(prompt: str, stream: object = None) -> str:
        asked.append(prompt)
        return SECRET

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", hidden)
    done = sluicectl(*CREATE, *given, "-o", "json")
    assert (done.code, len(asked)) == (0, 2)
    assert api.last().vpn_connection.pre_shared_key == SECRET
    assert done.json()["preSharedKey"] == ""


def test_without_a_terminal_nothing_is_asked(
    api: FakeApi, sluicectl: Sluicectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin(monkeypatch, SECRET)
    done = sluicectl(*CREATE)
    assert (done.code, api.requests) == (2, [])
    assert "--psk-file" in done.err


def test_certificates_come_from_three_files(api: FakeApi, sluicectl: Sluicectl, tmp_path: Path) -> None:
    files = []
    for option in ("certificate", "private-key", "ca"):
        (tmp_path / option).write_text(f"{option} in PEM\n")
        files += [f"--{option}", str(tmp_path / option)]
    done = sluicectl(*CREATE, *files)
    assert done.code == 0
    asked = api.last().vpn_connection
    assert asked.certificate == pb.VpnCertificate(
        certificate_pem="certificate in PEM\n", private_key_pem="private-key in PEM\n",
        ca_certificates_pem="ca in PEM\n",
    )  # fmt: skip
    assert asked.pre_shared_key == ""
    assert "private-key" not in done.out
    assert sluicectl("vpn", "connections", "set", "berlin", *files).code == 0
    assert list(api.last().update_mask.paths) == ["certificate"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["connections", "create", "x", "--gateway", "head"], "--remote-prefix"),
        (["connections", "create", "x", "--remote-prefix", "192.168.0.0/24"], "--gateway"),
        ([*CREATE[1:], "--certificate", "{file}"], "--private-key and --ca missing"),
        ([*CREATE[1:], "--certificate", "{file}", "--private-key", "{file}", "--ca", "{file}", "--psk-file", "{file}"],
         "exclude"),
        ([*CREATE[1:], "--psk-file", "/nonexistent"], "/nonexistent: No such file"),
        ([*CREATE[1:], "--psk-file", "{binary}"], "is not text"),
        ([*CREATE[1:], "--psk-file", "{file}", "--ike-version", "3"], "--ike-version"),
        (["connections", "set", "x"], "nothing to change"),
        (["connections", "delete"], "CONNECTION"),
        (["gateways", "create", "x"], "--network"),
        (["config", "x"], "--for"),
        (["config", "x", "--for", "juniper"], "strongswan"),
    ],
)  # fmt: skip
def test_wrong_usage_asks_nobody(
    api: FakeApi, sluicectl: Sluicectl, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "file").write_text("horse battery")
    (tmp_path / "binary").write_bytes(b"horse \xff battery")
    paths = {"file": str(tmp_path / "file"), "binary": str(tmp_path / "binary")}
    done = sluicectl("vpn", *(argument.format(**paths) for argument in arguments))
    assert (done.code, done.out, api.requests) == (2, "", [])
    assert said in done.err
    assert "horse" not in done.err


def test_set_sends_a_mask_of_what_was_given(api: FakeApi, sluicectl: Sluicectl, key: str) -> None:
    api.vpn_connections["vpnConnections/berlin"] = berlin(role=pb.VpnConnection.RESPONDER)
    done = sluicectl("vpn", "connections", "set", "berlin", "--peer", "198.51.100.9", "--initiator", "--wait")
    assert done.code == 0
    assert list(api.last().update_mask.paths) == ["peer", "role"]
    assert api.last().wait_live
    stored = api.vpn_connections["vpnConnections/berlin"]
    assert (stored.peer, stored.role) == ("198.51.100.9", pb.VpnConnection.INITIATOR)
    assert list(stored.remote_prefixes) == ["192.168.10.0/24"]
    sluicectl("vpn", "connections", "set", "berlin", "--psk-file", key, "--no-allow-weak", "--dpd", "30")
    assert list(api.last().update_mask.paths) == ["allow_weak_algorithms", "dpd_seconds", "pre_shared_key"]
    assert api.last().vpn_connection.pre_shared_key == SECRET


def test_an_empty_proposal_is_the_defaults(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.vpn_connections["vpnConnections/berlin"] = berlin()
    assert sluicectl("vpn", "connections", "set", "berlin", "--ike-proposal", "").code == 0
    assert list(api.last().update_mask.paths) == ["ike_proposals"]
    assert list(api.last().vpn_connection.ike_proposals) == []


def test_waiting_until_the_tunnel_is_established(api: FakeApi, sluicectl: Sluicectl, key: str) -> None:
    elsewhere = berlin(name="vpnConnections/paris", tunnel=tunnel(pb.VpnTunnel.ESTABLISHED))
    api.connection_events = [
        changed(elsewhere),
        changed(berlin(tunnel=tunnel(pb.VpnTunnel.CONNECTING))),
        changed(berlin(tunnel=tunnel(pb.VpnTunnel.ESTABLISHED, peer_address="198.51.100.7"))),
    ]
    done = sluicectl(*CREATE, "--psk-file", key, "--wait-established", "5", "-o", "json")
    assert done.code == 0
    assert done.json()["tunnel"]["state"] == "ESTABLISHED"
    assert api.requests[0].wait_live
    assert api.last().gateway == "vpnGateways/head"


def test_a_tunnel_that_does_not_come_is_told_with_its_last_error(api: FakeApi, sluicectl: Sluicectl, key: str) -> None:
    error = "the peer chose none of our IKE proposals (NO_PROPOSAL_CHOSEN)"
    api.connection_events = [changed(berlin(tunnel=tunnel(pb.VpnTunnel.CONNECTING, last_error=error)))]
    done = sluicectl(*CREATE, "--psk-file", key, "--wait-established", "0.5")
    assert (done.code, done.out) == (3, "")
    assert error in done.err


def test_a_connection_deleted_meanwhile_ends_the_wait(api: FakeApi, sluicectl: Sluicectl, key: str) -> None:
    api.connection_events = [pb.VpnConnectionEvent(type=status_pb2.DELETED, vpn_connection=berlin())]
    done = sluicectl(*CREATE, "--psk-file", key, "--wait-established", "5")
    assert (done.code, "deleted meanwhile" in done.err) == (1, True)


def test_a_connection_in_error_is_not_waited_for(api: FakeApi, sluicectl: Sluicectl, key: str) -> None:
    api.new_status = Status(state=Status.ERROR, detail="the certificate has expired")
    done = sluicectl(*CREATE, "--psk-file", key, "--wait-established", "60")
    assert done.code == 1
    assert "the certificate has expired" in done.err


def test_watch_connections(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.vpn_connections["vpnConnections/berlin"] = berlin(tunnel=tunnel(pb.VpnTunnel.ESTABLISHED))
    api.watch_ends = True
    lines = sluicectl("vpn", "connections", "watch", "--gateway", "head").out.splitlines()
    assert lines[0].split()[:3] == ["existing", "berlin", "head"]
    assert api.last().gateway == "vpnGateways/head"
    (first, synced) = sluicectl("vpn", "connections", "watch", "-o", "json").out.splitlines()
    assert json.loads(first)["vpnConnection"]["tunnel"]["state"] == "ESTABLISHED"
    assert json.loads(synced)["type"] == "SYNCED"


def test_delete_connections_stops_at_the_first_refusal(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.vpn_connections["vpnConnections/berlin"] = berlin()
    done = sluicectl("vpn", "connections", "delete", "berlin", "paris", "-o", "json")
    assert (done.code, done.out) == (1, "")
    assert json.loads(done.err)["error"]["code"] == "NOT_FOUND"
    assert api.vpn_connections == {}


@pytest.mark.parametrize(
    "command", ["vpn", "vpn gateways", "vpn connections create", "vpn connections set", "vpn config"]
)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run([*command.split(), "--help"]) == 0
    assert f"Usage: sluicectl {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("sluicectl vpn gateways show h", ["plain,head"]),
        ("sluicectl vpn connections show be", ["plain,berlin", "plain,bern"]),
        ("sluicectl vpn config be", ["plain,berlin", "plain,bern"]),
        ("sluicectl vpn connections list --gateway h", ["plain,head"]),
    ],
)
def test_names_are_completed_from_the_api(
    api: FakeApi,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    completed: list[str],
) -> None:
    api.vpn_gateways["vpnGateways/head"] = head()
    for name in ("berlin", "bern", "paris"):
        api.vpn_connections[f"vpnConnections/{name}"] = berlin(name=f"vpnConnections/{name}")
    monkeypatch.setenv("SLUICE_API", api.target)
    monkeypatch.setenv("_SLUICECTL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == completed
