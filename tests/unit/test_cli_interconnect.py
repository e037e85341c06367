"""sluicectl interconnects against an API in memory: every command, and how the password comes in."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from fake_api import FakeApi, Sluicectl, api, sluicectl
from fake_interconnects import cross, exchange
from google.protobuf.timestamp_pb2 import Timestamp

from cli.main import run
from sluice.v1 import interconnect_pb2 as pb
from sluice.v1 import status_pb2
from sluice.v1.status_pb2 import Status

__all__ = ["api", "sluicectl"]
SECRET = "correct-horse?battery"
LINK = (
    "--port",
    "eno3",
    "--local-address",
    "169.254.101.1/30",
    "--peer-address",
    "169.254.101.2",
    "--peer-as",
    "65010",
)
CREATE = ("interconnects", "create", "cross", "--kind", "direct-connect", "--network", "office", *LINK)
ACCEPT = ("--accept", "192.168.0.0/16")


@pytest.fixture
def password(tmp_path: Path) -> str:
    """A file with a password on a line of its own."""
    file = tmp_path / "password"
    file.write_text(SECRET + "\n")
    return str(file)


class Terminal(io.StringIO):
    """What stdin is to somebody who sits before it."""

    def isatty(self) -> bool:
        return True


def seen(state: pb.InterconnectSession.State.ValueType, **more: object) -> pb.InterconnectSession:
    since = Timestamp()
    since.FromJsonString("2026-11-23T10:00:00Z")
    return pb.InterconnectSession(state=state, since_time=since, **more)  # type: ignore[arg-type]


ESTABLISHED = seen(
    pb.InterconnectSession.SESSION_ESTABLISHED, bfd=pb.InterconnectSession.BFD_UP, peer_mac="02:00:00:00:0c:01",
    received_prefixes=7, accepted_prefixes=5, announced_prefixes=["10.0.0.0/16", "10.250.0.10/32"], flaps=2,
)  # fmt: skip
NO_ANSWER = seen(
    pb.InterconnectSession.SESSION_DOWN, detail="the peer does not answer ARP", last_error="hold timer expired",
    bfd=pb.InterconnectSession.BFD_DOWN,
)  # fmt: skip


def changed(interconnect: pb.Interconnect) -> pb.InterconnectEvent:
    return pb.InterconnectEvent(type=status_pb2.UPDATED, interconnect=interconnect)


def put(api: FakeApi, *interconnects: pb.Interconnect) -> None:
    for one in interconnects:
        api.interconnects[one.name] = one


def test_the_list_says_where_each_leads_and_how_it_is(api: FakeApi, sluicectl: Sluicectl) -> None:
    put(api, cross(session=ESTABLISHED), exchange(session=NO_ANSWER))
    broken = Status(state=Status.ERROR, detail="port eno9 is not on the bridge")
    put(api, cross(name="interconnects/far", network="networks/lab", port="eno9", status=broken))
    held = "the peer announced more than 100 prefixes; it is tried again at 10:01:00 UTC"
    session = seen(pb.InterconnectSession.SESSION_HELD, detail=held, last_error="the session was closed")
    put(api, cross(name="interconnects/held", session=session))
    lines = sluicectl("interconnects", "list").out.splitlines()
    assert lines[4].endswith(f"  {held}")
    assert lines[0].split() == [
        "NAME", "KIND", "NETWORK", "PORT", "PEER", "STATE", "SESSION", "SINCE", "BFD", "PREFIXES", "LAST", "ERROR",
    ]  # fmt: skip
    assert lines[1].split() == [
        "cross", "direct-connect", "office", "eno3/vlan=101", "169.254.101.2", "AS", "65010", "live", "established",
        "2026-11-23T10:00:00Z", "up", "5/7",
    ]  # fmt: skip
    # No prefixes count while there is no session.
    assert lines[2].split()[:8] == ["exchange", "peering", "eno4", "192.0.2.0", "AS", "4200000010", "live", "down"]
    assert re.search(r"Z +down +hold timer expired$", lines[2])
    assert re.search(r"eno9/vlan=101 .* error +port eno9 is not on the bridge$", lines[3])
    (found,) = sluicectl("interconnects", "list", "--network", "lab", "-o", "json").json()
    assert found["name"] == "interconnects/far"
    assert api.last().network == "networks/lab"


def test_an_empty_list_says_so(sluicectl: Sluicectl) -> None:
    assert sluicectl("interconnects", "list").err == "no interconnects\n"


def test_show_says_everything(api: FakeApi, sluicectl: Sluicectl) -> None:
    put(api, cross(session=ESTABLISHED, rate_kbps=500000))
    out = sluicectl("interconnects", "show", "interconnects/cross", "--wait").out
    assert api.last() == pb.GetInterconnectRequest(name="interconnects/cross", wait_live=True)
    fields = dict(re.split(" {2,}", line, maxsplit=1) for line in out.splitlines())
    assert fields["password"] == "yes"
    assert (fields["accepts"], fields["announces"]) == ("192.168.0.0/16", "the network and its drives")
    assert (fields["local AS"], fields["peer AS"], fields["hold time"]) == ("64512", "65010", "9 s")
    assert (fields["rate"], fields["BFD packets"], fields["enabled"]) == ("500000 kbit/s", "every 100 ms", "yes")
    assert (fields["session"], fields["BFD"], fields["peer MAC"]) == ("established", "up", "02:00:00:00:0c:01")
    assert (fields["prefixes received"], fields["prefixes accepted"]) == ("7", "5")
    assert (fields["prefixes announced"], fields["went down"]) == ("10.0.0.0/16, 10.250.0.10/32", "2 times")
    answer = sluicectl("interconnects", "show", "cross", "-o", "json").json()
    assert set(answer["session"]) >= {"state", "detail", "lastError", "announcedPrefixes", "flaps"}
    assert answer["peerAs"] == "65010"


def test_show_a_peering_that_is_switched_off(api: FakeApi, sluicectl: Sluicectl) -> None:
    put(api, exchange(disabled=True, disable_bfd=True, session=seen(pb.InterconnectSession.SESSION_DISABLED)))
    out = sluicectl("interconnects", "show", "exchange").out
    fields = dict(re.split(" {2,}", line, maxsplit=1) for line in out.splitlines())
    assert (fields["enabled"], fields["session"], fields["password"]) == ("no", "disabled", "none")
    assert (fields["accepts"], fields["announces"]) == ("any public prefix", "the pools of public addresses")
    assert (fields["BFD packets"], fields["rate"]) == ("off", "no limit")
    assert "network" not in fields


def test_create_sends_what_was_given(api: FakeApi, sluicectl: Sluicectl, password: str) -> None:
    done = sluicectl(
        *CREATE, *ACCEPT, "--accept", "172.20.0.0/14", "--vlan", "101", "--local-as", "4200000001", "--announce",
        "10.0.1.0/24", "--maximum-prefixes", "500", "--preference", "200", "--rate", "1000000", "--bfd",
        "--bfd-interval", "300", "--hold", "30", "--enable", "--password-file", password, "--wait",
    )  # fmt: skip
    assert done.code == 0
    asked = api.last()
    assert (asked.interconnect_id, asked.wait_live, bool(asked.request_id)) == ("cross", True, True)
    assert asked.interconnect == pb.Interconnect(
        kind=pb.Interconnect.DIRECT_CONNECT, network="networks/office", port="eno3", vlan=101,
        local_address="169.254.101.1/30", peer_address="169.254.101.2", local_as=4200000001, peer_as=65010,
        password=SECRET, accept_prefixes=["192.168.0.0/16", "172.20.0.0/14"], announce_prefixes=["10.0.1.0/24"],
        maximum_prefixes=500, preference=200, rate_kbps=1000000, bfd_interval_milliseconds=300, hold_seconds=30,
    )  # fmt: skip


def test_create_a_peering(api: FakeApi, sluicectl: Sluicectl) -> None:
    assert sluicectl("interconnects", "create", "--kind", "peering", *LINK, "--no-bfd", "--disable").code == 0
    asked = api.last()
    assert (asked.interconnect.kind, asked.interconnect.network) == (pb.Interconnect.PEERING, "")
    assert (asked.interconnect.disable_bfd, asked.interconnect.disabled) == (True, True)
    assert (asked.interconnect_id, asked.interconnect.password) == ("", "")


def test_a_network_that_cannot_have_one_is_told_with_the_reason(sluicectl: Sluicectl) -> None:
    done = sluicectl("interconnects", "create", "--kind", "direct-connect", "--network", "shop", *LINK, *ACCEPT)
    assert done.code == 1
    assert "networks/shop: is ISOLATED; allowed: a PRIVATE one" in done.err


@pytest.mark.parametrize("form", [[], ["-o", "json"]], ids=["table", "json"])
def test_the_password_is_never_written(api: FakeApi, sluicectl: Sluicectl, password: str, form: list[str]) -> None:
    for done in (
        sluicectl(*CREATE, *ACCEPT, "--password-file", password, *form),
        sluicectl("interconnects", "set", "cross", "--password-file", password, *form),
        sluicectl("interconnects", "show", "cross", *form),
        sluicectl("interconnects", "list", *form),
    ):
        assert done.code == 0
        assert "horse" not in done.out + done.err


@pytest.mark.parametrize("option", [["--password", SECRET], [f"--password={SECRET}"], ["--md5", SECRET]])
def test_the_password_is_no_argument(api: FakeApi, sluicectl: Sluicectl, option: list[str]) -> None:
    done = sluicectl(*CREATE, *ACCEPT, *option)
    assert (done.code, api.requests) == (2, [])
    assert "horse" not in done.out + done.err


def test_the_password_from_stdin(api: FakeApi, sluicectl: Sluicectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{SECRET}\r\n".encode())))
    assert sluicectl(*CREATE, *ACCEPT, "--password-file", "-").code == 0
    assert api.last().interconnect.password == SECRET


def test_on_a_terminal_the_password_is_asked_for_without_echo(
    api: FakeApi, sluicectl: Sluicectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def hidden(prompt: str, stream: object = None) -> str:
        asked.append(prompt)
        return SECRET

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", hidden)
    done = sluicectl(*CREATE, *ACCEPT, "--password-file", "-", "-o", "json")
    assert (done.code, len(asked)) == (0, 2)
    assert api.last().interconnect.password == SECRET
    assert (done.json()["password"], done.json()["hasPassword"]) == ("", True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "x", "--kind", "peering", "--port", "eno3"], "--local-address, --peer-address, --peer-as"),
        (["create", "x", *LINK], "--kind"),
        (["create", "x", "--kind", "transit", *LINK], "direct-connect"),
        (["create", "x", "--kind", "direct-connect", *LINK], "--network"),
        (["create", "x", "--kind", "peering", "--network", "office", *LINK], "--network"),
        ([*CREATE[1:], "--password-file", "/nonexistent"], "/nonexistent: No such file"),
        ([*CREATE[1:], "--password-file", "{binary}"], "is not text"),
        ([*CREATE[1:], "--password-file", "{empty}"], "the password is empty"),
        ([*CREATE[1:], "--vlan", "ten"], "--vlan"),
        ([*CREATE[1:], "--vlan", "99999999999"], "--vlan"),
        (["set", "x"], "nothing to change"),
        (["set", "x", "--no-password", "--password-file", "{file}"], "exclude"),
        (["set", "x", "--network", "lab"], "No such option"),
        (["set", "x", "--kind", "peering"], "No such option"),
        (["delete"], "INTERCONNECT"),
        (["routes"], "INTERCONNECT"),
        (["config", "x"], "--for"),
        (["config", "x", "--for", "mikrotik"], "cisco-ios"),
    ],
)
def test_wrong_usage_asks_nobody(
    api: FakeApi, sluicectl: Sluicectl, tmp_path: Path, arguments: list[str], said: str
) -> None:
    contents = {"file": b"horse", "binary": b"horse \xff battery", "empty": b"\n"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = {name: str(tmp_path / name) for name in contents}
    done = sluicectl("interconnects", *(argument.format(**paths) for argument in arguments))
    assert (done.code, done.out, api.requests) == (2, "", [])
    assert said in done.err
    assert "horse" not in done.err


def test_set_sends_a_mask_of_what_was_given(api: FakeApi, sluicectl: Sluicectl, password: str) -> None:
    put(api, cross(disable_bfd=True))
    done = sluicectl("interconnects", "set", "cross", "--preference", "50", "--vlan", "0", "--bfd", "--wait")
    assert done.code == 0
    assert list(api.last().update_mask.paths) == ["vlan", "preference", "disable_bfd"]
    assert api.last().wait_live
    stored = api.interconnects["interconnects/cross"]
    assert (stored.preference, stored.vlan, stored.disable_bfd) == (50, 0, False)
    assert list(stored.accept_prefixes) == ["192.168.0.0/16"]
    sluicectl("interconnects", "set", "cross", "--password-file", password, "--disable", "--announce", "10.0.0.0/24")
    assert list(api.last().update_mask.paths) == ["announce_prefixes", "disabled", "password"]
    assert (api.last().interconnect.password, api.last().interconnect.disabled) == (SECRET, True)


def test_lists_and_the_password_can_be_taken_away(api: FakeApi, sluicectl: Sluicectl) -> None:
    put(api, cross(announce_prefixes=["10.0.0.0/24"]))
    assert sluicectl("interconnects", "set", "cross", "--announce", "", "--no-password").code == 0
    assert list(api.last().update_mask.paths) == ["announce_prefixes", "password"]
    assert (list(api.last().interconnect.announce_prefixes), api.last().interconnect.password) == ([], "")


def test_waiting_until_the_session_is_established(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.interconnect_events = [
        changed(cross(name="interconnects/other", session=ESTABLISHED)),
        changed(cross(session=seen(pb.InterconnectSession.SESSION_CONNECTING))),
        changed(cross(session=ESTABLISHED)),
    ]
    done = sluicectl(*CREATE, *ACCEPT, "--wait-established", "5", "-o", "json")
    assert done.code == 0
    assert done.json()["name"] == "interconnects/cross"
    assert done.json()["session"]["state"] == "SESSION_ESTABLISHED"
    assert api.requests[0].wait_live
    assert api.last().network == "networks/office"


def test_a_session_that_does_not_come_is_told_with_its_last_error(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.interconnect_events = [changed(cross(session=NO_ANSWER))]
    done = sluicectl(*CREATE, *ACCEPT, "--wait-established", "0.5")
    assert (done.code, done.out) == (3, "")
    assert "hold timer expired" in done.err


def test_one_deleted_meanwhile_ends_the_wait(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.interconnect_events = [pb.InterconnectEvent(type=status_pb2.DELETED, interconnect=cross())]
    done = sluicectl(*CREATE, *ACCEPT, "--wait-established", "5")
    assert (done.code, "deleted meanwhile" in done.err) == (1, True)


@pytest.mark.parametrize("wait", [["--wait"], ["--wait-established", "60"]], ids=["live", "established"])
def test_one_in_error_is_not_waited_for(api: FakeApi, sluicectl: Sluicectl, wait: list[str]) -> None:
    api.new_status = Status(state=Status.ERROR, detail="port eno3 is not on the bridge")
    done = sluicectl(*CREATE, *ACCEPT, *wait)
    assert done.code == 1
    assert "port eno3 is not on the bridge" in done.err


def test_watch(api: FakeApi, sluicectl: Sluicectl) -> None:
    put(api, cross(session=ESTABLISHED))
    api.interconnect_events, api.watch_ends = [changed(cross(session=NO_ANSWER))], True
    lines = sluicectl("interconnects", "watch", "--network", "office").out.splitlines()
    assert [line.split()[0] for line in lines] == ["existing", "--", "updated"]
    assert lines[2].endswith("down  hold timer expired")
    assert api.last().network == "networks/office"
    first, synced, _ = sluicectl("interconnects", "watch", "-o", "json").out.splitlines()
    assert json.loads(first)["interconnect"]["session"]["acceptedPrefixes"] == 5
    assert json.loads(synced)["type"] == "SYNCED"


def test_routes_are_listed_over_all_pages(api: FakeApi, sluicectl: Sluicectl) -> None:
    put(api, cross())
    routes = [pb.InterconnectRoute(prefix=f"192.168.{n}.0/24", as_path=[65010], accepted=True) for n in range(5)]
    routes += [
        pb.InterconnectRoute(prefix="0.0.0.0/0", as_path=[65010, 64999], med=20, refusal="a default route"),
        pb.InterconnectRoute(prefix="172.16.0.0/12", as_path=[65010], refusal="not within the accepted prefixes"),
        pb.InterconnectRoute(prefix="172.20.0.0/16", as_path=[65010], accepted=True, graceful_shutdown=True),
    ]
    api.routes["interconnects/cross"] = routes
    lines = sluicectl("interconnects", "routes", "cross").out.splitlines()
    assert lines[0].split() == ["PREFIX", "AS", "PATH", "MED", "STATE", "WHY"]
    assert len(lines) == 9
    assert lines[8].split(maxsplit=4)[3:] == ["accepted", "graceful shutdown: others are preferred"]
    assert lines[1].split() == ["192.168.0.0/24", "65010", "0", "accepted"]
    assert lines[6].split(maxsplit=5) == ["0.0.0.0/0", "65010", "64999", "20", "refused", "a default route"]
    refused = sluicectl("interconnects", "routes", "cross", "--refused", "-o", "json").json()
    assert [route["refusal"] for route in refused] == ["a default route", "not within the accepted prefixes"]
    assert (api.last().parent, api.last().refused) == ("interconnects/cross", True)


def test_without_routes_it_says_so(api: FakeApi, sluicectl: Sluicectl) -> None:
    put(api, cross())
    assert sluicectl("interconnects", "routes", "cross").err == "no routes\n"
    assert sluicectl("interconnects", "routes", "cross", "-o", "json").json() == []


@pytest.mark.parametrize("words", ["show", "routes", "set --hold 30", "delete", "config --for frr"])
def test_one_that_is_not_there(sluicectl: Sluicectl, words: str) -> None:
    verb, *options = words.split()
    done = sluicectl("interconnects", verb, "nowhere", *options)
    assert (done.code, done.out) == (1, "")
    assert "no interconnect interconnects/nowhere (NOT_FOUND)" in done.err


def test_delete_stops_at_the_first_refusal(api: FakeApi, sluicectl: Sluicectl) -> None:
    put(api, cross(), exchange())
    done = sluicectl("interconnects", "delete", "cross", "nowhere", "exchange")
    assert (done.code, done.out) == (1, "interconnects/cross deleted\n")
    assert list(api.interconnects) == ["interconnects/exchange"]
    done = sluicectl("interconnects", "delete", "exchange", "-o", "json")
    assert done.json() == {"deleted": ["interconnects/exchange"]}


@pytest.mark.parametrize("verb", ["", "list", "show", "create", "set", "delete", "watch", "routes", "config"])
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    command = " ".join(filter(None, ("interconnects", verb)))
    assert run([*command.split(), "--help"]) == 0
    assert f"Usage: sluicectl {command}" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["show ex", "routes ex", "set ex", "config ex", "delete cross ex"])
def test_names_are_completed_from_the_api(
    api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    put(api, cross(), exchange(), exchange(name="interconnects/exit"))
    monkeypatch.setenv("SLUICE_API", api.target)
    monkeypatch.setenv("_SLUICECTL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"sluicectl interconnects {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) + 1))
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == ["plain,exchange", "plain,exit"]


def test_status_counts_sessions(api: FakeApi, sluicectl: Sluicectl) -> None:
    sessions = {"a": ESTABLISHED, "b": ESTABLISHED, "c": NO_ANSWER, "d": seen(pb.InterconnectSession.SESSION_HELD)}
    put(api, *(cross(name=f"interconnects/{name}", session=session) for name, session in sessions.items()))
    put(api, cross(name="interconnects/e"))
    # Without a switch it is not well, and says what it knows.
    told = sluicectl("status")
    assert "sessions: 1 down, 2 established, 1 held, 1 pending" in told.out.splitlines()
    assert next(line.split() for line in told.out.splitlines() if line.startswith("sessions ")) == [
        "sessions", "down", "2:", "c,", "d",
    ]  # fmt: skip
