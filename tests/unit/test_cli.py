"""sluicectl against an API in memory: every command about objects, and every kind of refusal."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from fake_api import FakeApi, Sluicectl, api, office, pc, sluicectl
from google.protobuf.timestamp_pb2 import Timestamp

from cli.main import run
from sluice.v1 import network_pb2, translation_pb2
from sluice.v1.status_pb2 import Status

__all__ = ["api", "sluicectl"]


def test_networks_are_listed_over_all_pages(api: FakeApi, sluicectl: Sluicectl) -> None:
    for number in range(5):
        api.networks[f"networks/n{number}"] = office(name=f"networks/n{number}", key=number + 1)
    done = sluicectl("networks", "list")
    lines = done.out.splitlines()
    assert done.code == 0
    assert lines[0].split()[:4] == ["NAME", "KIND", "TENANT", "PREFIX"]
    assert [line.split()[0] for line in lines[1:]] == ["n0", "n1", "n2", "n3", "n4"]
    assert "203.0.113.64:3072-4095" in lines[1]
    assert lines[1].endswith("live")


def test_json_has_every_field_by_its_proto_json_name(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.networks["networks/office"] = office()
    (network,) = sluicectl("networks", "list", "-o", "json").json()
    fields = {field.json_name for field in network_pb2.Network.DESCRIPTOR.fields} - {"createTime"}
    assert set(network) == fields
    assert network["portBlock"] == {"address": "203.0.113.64", "firstPort": 3072, "lastPort": 4095}
    assert network["status"] == {"state": "LIVE", "detail": ""}
    assert sluicectl("-o", "json", "networks", "list").json() == [network]


def test_networks_of_one_tenant(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.networks["networks/office"] = office()
    api.networks["networks/shop"] = office(name="networks/shop", tenant="other")
    assert [n["name"] for n in sluicectl("networks", "list", "--tenant", "other", "-o", "json").json()] == [
        "networks/shop"
    ]


def test_an_empty_list_says_so_outside_the_answer(sluicectl: Sluicectl) -> None:
    done = sluicectl("networks", "list")
    assert (done.code, done.out, done.err) == (0, "", "no networks\n")
    assert sluicectl("machines", "list", "-o", "json").json() == []


@pytest.mark.parametrize("name", ["office", "networks/office"])
def test_show_takes_short_and_full_names(api: FakeApi, sluicectl: Sluicectl, name: str) -> None:
    api.networks["networks/office"] = office()
    done = sluicectl("networks", "show", name, "--wait")
    assert done.code == 0
    assert ["router", "10.0.0.1"] in [line.split() for line in done.out.splitlines()]
    assert api.last() == network_pb2.GetNetworkRequest(name="networks/office", wait_live=True)


def test_create_network_sends_what_was_given(api: FakeApi, sluicectl: Sluicectl) -> None:
    done = sluicectl(
        "networks", "create", "lab", "--tenant", "acme", "--prefix", "10.42.0.0/16",
        "--dns", "10.42.0.10", "--dns", "9.9.9.9", "--mtu", "1400",
    )  # fmt: skip
    assert done.code == 0
    asked = api.last()
    uuid.UUID(asked.request_id)
    assert (asked.network_id, asked.wait_live) == ("lab", False)
    assert asked.network == network_pb2.Network(
        kind=network_pb2.Network.PRIVATE, tenant="acme", prefix="10.42.0.0/16", dns_servers=["10.42.0.10", "9.9.9.9"],
        mtu=1400,
    )  # fmt: skip


def test_an_aborted_create_is_sent_again_with_the_same_request_id(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.abort_creates = 2
    assert sluicectl("networks", "create", "lab").code == 0
    assert len(api.requests) == 3
    assert len({request.request_id for request in api.requests}) == 1


def test_a_create_is_not_sent_for_ever(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.abort_creates = 100
    done = sluicectl("networks", "create", "lab")
    assert (done.code, len(api.requests)) == (1, 5)
    assert "ABORTED" in done.err


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status(state=Status.LIVE), 0),
        (Status(state=Status.PENDING), 1),
        (Status(state=Status.ERROR, detail="port h9 is not on the bridge"), 1),
    ],
    ids=["live", "pending", "error"],
)
def test_waiting_fails_when_the_network_is_not_live(
    api: FakeApi, sluicectl: Sluicectl, status: Status, code: int
) -> None:
    api.new_status = status
    done = sluicectl("networks", "create", "lab", "--wait")
    assert done.code == code
    assert status.detail in done.err
    assert api.last().wait_live
    assert sluicectl("networks", "create", "lab2").code == 0


def test_field_violations_are_told_in_words(sluicectl: Sluicectl) -> None:
    done = sluicectl("networks", "create", "lab", "--mtu", "70000")
    assert done.code == 1
    assert done.err.splitlines() == [
        "error: 2 fields are wrong (INVALID_ARGUMENT)",
        "  network.mtu: is 70000; allowed: 576 to 9000",
        "  network.prefix: is '10.0.0.0/8'; allowed: a /16",
    ]


def test_refusals_are_json_where_json_was_asked_for(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.networks["networks/lab"] = office(name="networks/lab")
    done = sluicectl("networks", "create", "lab", "-o", "json")
    assert (done.code, done.out) == (1, "")
    assert json.loads(done.err)["error"] == {
        "code": "ALREADY_EXISTS",
        "message": "a network of this name exists",
        "violations": [{"subject": "networks/lab", "description": "exists"}],
        "left_out": 0,
    }


def test_a_network_in_use_names_its_users(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.networks["networks/office"] = office()
    api.machines["machines/pc1"] = pc(1)
    done = sluicectl("networks", "delete", "office")
    assert done.code == 1
    assert "machines/pc1: uses it" in done.err
    del api.machines["machines/pc1"]
    assert sluicectl("networks", "delete", "office").out == "networks/office deleted\n"
    assert api.networks == {}


def test_watch_shows_what_exists_and_what_comes(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.networks["networks/office"] = office()
    lines = sluicectl("networks", "watch").out.splitlines()
    assert [line.split()[0] for line in lines] == ["existing", "--", "created"]
    events = [json.loads(line) for line in sluicectl("networks", "watch", "-o", "json").out.splitlines()]
    assert [event["type"] for event in events] == ["EXISTING", "SYNCED", "CREATED"]
    assert events[0]["network"]["name"] == "networks/office"


def test_machines_of_a_network_with_their_attachments(api: FakeApi, sluicectl: Sluicectl) -> None:
    for number in range(1, 4):
        api.machines[f"machines/pc{number}"] = pc(number)
    api.machines["machines/web"] = pc(9, name="machines/web", network="networks/web")
    lines = sluicectl("machines", "list", "--network", "office").out.splitlines()
    assert len(lines) == 4
    assert lines[1].split() == ["pc1", "office", "10.0.0.2", "02:00:00:00:00:01", "pc1", "trunk/vlan=10", "live"]


def test_create_machine_sends_what_was_given(api: FakeApi, sluicectl: Sluicectl) -> None:
    done = sluicectl(
        "machines", "create", "pc1", "--network", "office", "--mac", "02:00:00:00:00:01", "--port", "vx0",
        "--vni", "5000", "--address", "10.0.0.9", "--hostname", "pc-one", "--wait", "-o", "json",
    )  # fmt: skip
    assert done.code == 0
    assert done.json()["attachment"] == {"port": "vx0", "vni": 5000, "additionalAddresses": []}
    asked = api.last()
    assert (asked.machine_id, asked.machine.network, asked.wait_live) == ("pc1", "networks/office", True)
    assert (asked.machine.address, asked.machine.hostname) == ("10.0.0.9", "pc-one")


def test_additional_addresses_are_given_replaced_and_shown(api: FakeApi, sluicectl: Sluicectl) -> None:
    sluicectl(
        "machines", "create", "pc1", "--network", "office", "--mac", "02:00:00:00:00:01", "--port", "p1",
        "--additional-address", "10.0.9.9", "--additional-address", "10.0.9.10, 0000.5e00.0133",
    )  # fmt: skip
    asked = api.last().machine.attachment
    assert [(one.address, one.mac_address) for one in asked.additional_addresses] == [
        ("10.0.9.9", ""), ("10.0.9.10", "00:00:5e:00:01:33"),
    ]  # fmt: skip
    shown = sluicectl("machines", "show", "pc1").out
    assert "10.0.9.9 10.0.9.10,00:00:5e:00:01:33" in shown
    done = sluicectl("machines", "set", "pc1", "--additional-address", "10.0.9.7", "-o", "json")
    assert done.json()["attachment"] == {
        "port": "p1", "additionalAddresses": [{"address": "10.0.9.7", "macAddress": ""}],
    }  # fmt: skip
    assert list(api.last().update_mask.paths) == ["attachment.additional_addresses"]
    assert sluicectl("machines", "set", "pc1", "--port", "p2", "-o", "json").json()["attachment"]["additionalAddresses"]
    assert "additional" not in sluicectl("machines", "set", "pc1", "--no-additional-addresses").out
    both = sluicectl("machines", "set", "pc1", "--no-additional-addresses", "--additional-address", "10.0.9.7")
    assert (both.code, "exclude each other" in both.err) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["machines", "create", "x"],
        ["machines", "create", "x", "--mac", "02:00:00:00:00:01"],
        ["machines", "create", "x", "--mac", "02:00:00:00:00:01", "--vlan", "10"],
        ["machines", "create", "x", "--mac", "02:00:00:00:00:01", "--port", "p", "--vlan", "1", "--vni", "1"],
        ["machines", "set", "x"],
        ["machines", "set", "x", "--vlan", "10"],
        ["machines", "delete"],
        ["networks", "create", "x", "--kind", "shared"],
        ["networks", "show"],
        ["flows"],
        ["flows", "x", "--appliance"],
        ["networks", "create", "x", "--mtu", "99999999999"],
        ["networks", "create", ""],
        ["machines", "create", "", "--mac", "02:00:00:00:00:01", "--port", "p"],
        ["drives", "create", ""],
        ["networks", "watch", ""],
        ["networks", "show", ""],
        ["machines", "delete", "pc1", ""],
        ["addresses", "assign", "www", ""],
        ["vpn", "connections", "set", "x", "--dpd", "99999999999"],
        ["interconnects", "set", "x", "--rate", "99999999999999999999"],
        ["who", "203.0.113.7"],
        ["who", "203.0.113.7:99999999999"],
        ["who", "203.0.113.7:\N{SUPERSCRIPT TWO}"],
        ["who", "203.0.113.7:1024", "--at", "yesterday-ish"],
        ["trace", "x", "somewhere"],
        ["trace", "x", "10.0.0.3", "--source", "999.1.1.1"],
        ["trace", "x", "10.0.0.3", "--source", "10.0.0.2,actions=drop"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_asks_nobody_and_exits_2(api: FakeApi, sluicectl: Sluicectl, arguments: list[str]) -> None:
    done = sluicectl(*arguments)
    assert (done.code, done.out, api.requests) == (2, "", [])
    assert "Error:" in done.err


CSV = """name,network,mac_address,port,vlan
pc1,office,02:00:00:00:00:01,trunk,10
pc2,office,02:00:00:00:00:02,trunk,
"""


def test_machines_of_a_csv_file_are_one_request(api: FakeApi, sluicectl: Sluicectl, tmp_path: Path) -> None:
    file = tmp_path / "machines.csv"
    file.write_text(CSV)
    done = sluicectl("machines", "create", "--file", str(file))
    assert done.code == 0
    (asked,) = api.requests
    assert [one.machine_id for one in asked.requests] == ["pc1", "pc2"]
    assert [one.machine.network for one in asked.requests] == ["networks/office"] * 2
    assert asked.requests[0].machine.attachment.vlan == 10
    assert asked.requests[1].machine.attachment.WhichOneof("tag") is None


def test_what_list_writes_create_reads(api: FakeApi, sluicectl: Sluicectl, tmp_path: Path) -> None:
    api.machines.update({f"machines/pc{n}": pc(n) for n in range(1, 4)})
    before = dict(api.machines)
    file = tmp_path / "machines.json"
    file.write_text(sluicectl("machines", "list", "-o", "json").out)
    api.machines.clear()
    assert sluicectl("machines", "create", "--file", str(file), "--wait").code == 0
    assert api.machines == before


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.csv", "name,macs\n", "unknown columns macs"),
        ("m.csv", "", "m.csv is empty; its first line names columns: name, network"),
        ("m.csv", CSV + "pc3,office,02:00:00:00:00:03,trunk,,x,y\n", "line 4: 2 more cells"),
        ("m.csv", CSV.replace(",10\n", ",99999999999\n"), "line 2: Value out of range"),
        ("m.csv", CSV.replace(",10\n", ",ten\n"), "line 2: vlan is 'ten'"),
        ("m.json", "{", "is not JSON"),
        ("m.json", "{}", "no list"),
        ("m.json", '[{"mac": "x"}]', "machine 1:"),
        ("m.json", "[7]", "machine 1:"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(
    api: FakeApi, sluicectl: Sluicectl, tmp_path: Path, name: str, text: str, said: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    done = sluicectl("machines", "create", "--file", str(file))
    assert (done.code, api.requests) == (2, [])
    assert said in done.err


def test_set_sends_only_what_changes(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.machines["machines/pc1"] = pc(1)
    assert sluicectl("machines", "set", "pc1", "--port", "other", "--vlan", "77").code == 0
    assert list(api.last().update_mask.paths) == ["attachment.port", "attachment.vlan", "attachment.vni"]
    assert api.machines["machines/pc1"].attachment.vlan == 77
    assert api.machines["machines/pc1"].hostname == "pc1"
    sluicectl("machines", "set", "pc1", "--mac", "02:00:00:00:00:99", "--hostname", "new")
    assert list(api.last().update_mask.paths) == ["mac_address", "hostname"]


def test_delete_stops_at_the_first_refusal(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.machines.update({f"machines/pc{n}": pc(n) for n in range(1, 4)})
    done = sluicectl("machines", "delete", "pc1", "missing", "pc2")
    assert done.code == 1
    assert done.out == "machines/pc1 deleted\n"
    assert "no machine machines/missing (NOT_FOUND)" in done.err
    assert sorted(api.machines) == ["machines/pc2", "machines/pc3"]


def test_watch_machines_of_a_network(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.machines["machines/pc1"] = pc(1)
    done = sluicectl("machines", "watch", "--network", "office")
    assert api.last().network == "networks/office"
    assert done.out.splitlines()[0].split()[:3] == ["existing", "pc1", "office"]


def test_who_asks_for_the_moment_given(api: FakeApi, sluicectl: Sluicectl) -> None:
    since, until = Timestamp(), Timestamp()
    since.FromJsonString("2026-11-23T10:00:00Z")
    until.FromJsonString("2026-11-23T12:00:00Z")
    block = network_pb2.PortBlock(address="203.0.113.7", first_port=40960, last_port=41983)
    api.translation = translation_pb2.Translation(
        network="networks/office", tenant="acme", prefix="10.0.0.0/16", port_block=block, allocate_time=since,
        release_time=until,
    )  # fmt: skip
    done = sluicectl("who", "203.0.113.7:41000", "--at", "2026-11-23T11:00:00Z")
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert lines == {
        "network": "office", "tenant": "acme", "prefix": "10.0.0.0/16", "block": "203.0.113.7:40960-41983",
        "since": "2026-11-23T10:00:00Z", "until": "2026-11-23T12:00:00Z",
    }  # fmt: skip
    assert (api.last().address, api.last().port) == ("203.0.113.7", 41000)
    assert api.last().time.ToJsonString() == "2026-11-23T11:00:00Z"
    sluicectl("who", "203.0.113.7:41000")
    assert not api.last().HasField("time")


def test_who_names_what_had_a_whole_address(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.translation = translation_pb2.Translation(
        network="networks/office", tenant="acme", prefix="10.0.0.0/16", vpn_gateway="vpnGateways/head"
    )
    done = sluicectl("who", "203.0.113.70:500")
    assert "VPN gateway  head" in done.out
    assert "block" not in done.out
    api.translation = translation_pb2.Translation(network="networks/office", machine="machines/web")
    assert "machine  web" in sluicectl("who", "203.0.113.71:80").out


def test_nobody_used_it(sluicectl: Sluicectl) -> None:
    done = sluicectl("who", "203.0.113.7:41000", "-o", "json")
    assert done.code == 1
    assert json.loads(done.err)["error"]["code"] == "NOT_FOUND"


def test_a_silent_api_is_told_from_a_refusal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["--api", f"unix:{tmp_path}/none.sock", "networks", "list"]) == 3
    assert capsys.readouterr().err == (
        f"error: no API at unix:{tmp_path}/none.sock: No such file or directory (UNAVAILABLE)\n"
    )


@pytest.mark.parametrize("command", [[], ["networks"], ["networks", "create"], ["machines", "set"], ["status"]])
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert run([*command, "--help"]) == 0
    assert "Usage: sluicectl" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert run(["completion", shell]) == 0
    assert f"_SLUICECTL_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_names_are_completed_from_the_api(
    api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.networks.update({f"networks/{name}": office(name=f"networks/{name}") for name in ("office", "off", "lab")})
    monkeypatch.setenv("SLUICE_API", api.target)
    monkeypatch.setenv("_SLUICECTL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "sluicectl networks show of")
    monkeypatch.setenv("COMP_CWORD", "3")
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == ["plain,off", "plain,office"]


def test_a_file_of_a_spreadsheet_is_read_and_one_of_another_encoding_refused(
    api: FakeApi, sluicectl: Sluicectl, tmp_path: Path
) -> None:
    file = tmp_path / "machines.csv"
    file.write_text(CSV, encoding="utf-8-sig")
    assert sluicectl("machines", "create", "--file", str(file)).code == 0
    file.write_bytes(CSV.replace("pc1", "b\N{LATIN SMALL LETTER U WITH DIAERESIS}ro").encode("latin-1"))
    done = sluicectl("machines", "create", "--file", str(file))
    assert (done.code, "is not text in UTF-8" in done.err) == (2, True)
