"""How far interconnects are, what is shown of sessions and routes, lists and streams."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import grpc
import pytest

from agent.cache.learned_routes import LearnedRoutes
from agent.store import Store
from sluice.v1 import interconnect_pb2 as interconnects
from sluice.v1 import status_pb2
from state import interconnect_rows
from state.interconnect import BfdState, BgpSession, Route, SessionState
from state.model import NetworkStatus, State
from tests.agents import Api, Controller, Database, machine, refusal
from tests.dummy_switch import wait_until
from tests.interconnect_calls import BgpDaemon, create, delete, direct, get, peering, routes, update

PENDING, LIVE, ERROR = status_pb2.Status.PENDING, status_pb2.Status.LIVE, status_pb2.Status.ERROR
STORED = "stored; waiting for the controller to put its flows on the switch"
UNTOLD = "waiting for the BGP daemon to act by this configuration"
SESSION = BgpSession(
    SessionState.ESTABLISHED, "", 5000, "hold timer expired", 6000, BfdState.UP, "02:00:00:00:00:99", 3, 2,
    "10.0.0.0/16 10.250.0.9/32", 4,
)  # fmt: skip
HIDDEN = (
    Route("10.9.0.0/16", "65001", 7),
    Route("9.0.0.0/8", "65001 65002"),
    Route("10.9.0.0/24", "65001", 0, "not within the accepted prefixes"),
    Route("0.0.0.0/0", "65001", 0, "a default route"),
)


def status(api: Api, name: str) -> tuple[int, str]:
    found = get(api, name).status
    return found.state, found.detail


def test_how_far_a_direct_connect_is(bgp_api: Api, controller: Controller, bgp: BgpDaemon) -> None:
    create(bgp_api, direct("dc"))
    bgp.say("dc")
    assert status(bgp_api, "dc") == (PENDING, STORED)
    reason = "port xc1 is not on the bridge"
    controller.report("office", State.LIVE, machines={"interconnects/dc": reason})
    wait_until(lambda: status(bgp_api, "dc") == (ERROR, reason))
    # The leg is missing: the daemon makes it, and says why it cannot.
    controller.report("office", State.LIVE, machines={"interconnects/dc": ""})
    wait_until(lambda: status(bgp_api, "dc") == (PENDING, STORED))
    bgp.say("dc", State.ERROR, "no namespace can be made")
    wait_until(lambda: status(bgp_api, "dc") == (ERROR, "no namespace can be made"))
    bgp.say("dc", revision=1)
    wait_until(lambda: status(bgp_api, "dc") == (PENDING, UNTOLD))
    # A machine may have the same name.
    controller.report("office", State.LIVE, machines={"dc": "port pc is not on the bridge"})
    bgp.say("dc")
    wait_until(lambda: status(bgp_api, "dc") == (LIVE, ""))
    # A change waits for switch and daemon anew; what they said is of the revision before.
    update(bgp_api, "dc", preference=9)
    assert status(bgp_api, "dc") == (PENDING, STORED)
    controller.report("office", State.LIVE)
    wait_until(lambda: status(bgp_api, "dc") == (PENDING, UNTOLD))
    bgp.say("dc", State.ERROR, "the password was sealed with another key")
    wait_until(lambda: status(bgp_api, "dc") == (ERROR, "the password was sealed with another key"))
    bgp.say("dc")
    wait_until(lambda: status(bgp_api, "dc") == (LIVE, ""))
    # Later changes of the network do not make it pending.
    bgp_api.machines.CreateMachine(machine("pc", "office", 5))
    assert status(bgp_api, "dc") == (LIVE, "")
    controller.report("office", State.ERROR, "the switch is full")
    wait_until(lambda: status(bgp_api, "dc") == (ERROR, "the switch is full"))


def test_how_far_a_peering_is(bgp_api: Api, controller: Controller, bgp: BgpDaemon, server: Database) -> None:
    create(bgp_api, peering("ix"))
    assert status(bgp_api, "ix") == (PENDING, STORED)
    made = bgp.revision("ix")
    controller.report_peerings(NetworkStatus(made - 1, State.LIVE))
    controller.report_peerings(NetworkStatus(made, State.LIVE))
    wait_until(lambda: status(bgp_api, "ix") == (PENDING, UNTOLD))
    bgp.say("ix")
    wait_until(lambda: status(bgp_api, "ix") == (LIVE, ""))
    cut_off = {"interconnects/ix": "port ix1 is not on the bridge"}
    controller.report_peerings(NetworkStatus(made, State.LIVE, "", cut_off))
    wait_until(lambda: status(bgp_api, "ix") == (ERROR, "port ix1 is not on the bridge"))
    controller.report_peerings(NetworkStatus(made, State.LIVE, "", {"interconnects/ix": ""}))
    wait_until(lambda: status(bgp_api, "ix") == (PENDING, STORED))
    other = {"interconnects/other": "port a is not on the bridge"}
    controller.report_peerings(NetworkStatus(made, State.LIVE, "", other))
    wait_until(lambda: status(bgp_api, "ix") == (LIVE, ""))
    update(bgp_api, "ix", preference=9)
    assert status(bgp_api, "ix") == (PENDING, STORED)
    controller.report_peerings(NetworkStatus(bgp.revision("ix"), State.LIVE))
    wait_until(lambda: status(bgp_api, "ix") == (PENDING, UNTOLD))
    bgp.say("ix", State.ERROR, "FRR cannot be started")
    wait_until(lambda: status(bgp_api, "ix") == (ERROR, "FRR cannot be started"))


@pytest.mark.parametrize("name", ["dc", "ix"])
def test_waiting_until_it_is_live(bgp_api: Api, controller: Controller, bgp: BgpDaemon, name: str) -> None:
    create(bgp_api, direct("dc"))
    create(bgp_api, peering("ix"))
    controller.report("office", State.LIVE)
    controller.report_peerings(NetworkStatus(bgp.revision("ix"), State.LIVE))
    wait_until(lambda: status(bgp_api, name)[1] == UNTOLD)
    found: list[interconnects.Interconnect] = []
    waiting = threading.Thread(target=lambda: found.append(get(bgp_api, name, wait_live=True)))
    waiting.start()
    bgp.say(name)
    waiting.join(5)
    assert [one.status.state for one in found] == [LIVE]


@pytest.mark.parametrize("name", ["dc", "ix"])
def test_waiting_ends_with_the_call_and_with_the_interconnect(bgp_api: Api, name: str) -> None:
    create(bgp_api, direct("dc"))
    create(bgp_api, peering("ix"))
    request = interconnects.GetInterconnectRequest(name=f"interconnects/{name}", wait_live=True)
    assert bgp_api.interconnects.GetInterconnect(request, timeout=0.5).status.state == PENDING
    call = bgp_api.interconnects.GetInterconnect.future(request, timeout=10)
    delete(bgp_api, name)
    with pytest.raises(grpc.RpcError) as error:
        call.result()
    assert error.value.code().name == "NOT_FOUND"


def test_waiting_ends_with_the_agent(bgp_api: Api, store: Store) -> None:
    create(bgp_api, peering("ix"))
    request = interconnects.GetInterconnectRequest(name="interconnects/ix", wait_live=True)
    call = bgp_api.interconnects.GetInterconnect.future(request, timeout=10)
    wait_until(lambda: store.cache.interconnects.peerings.waiting is not None)
    store.release_waiting()
    assert call.result(timeout=5).status.state == PENDING


def test_what_is_shown_of_a_session(bgp_api: Api, bgp: BgpDaemon) -> None:
    create(bgp_api, direct("dc"))
    assert not get(bgp_api, "dc").HasField("session")
    bgp.say("dc", session=SESSION)
    wait_until(lambda: get(bgp_api, "dc").HasField("session"))
    shown = get(bgp_api, "dc").session
    assert (shown.state, shown.bfd) == (
        interconnects.InterconnectSession.SESSION_ESTABLISHED,
        interconnects.InterconnectSession.BFD_UP,
    )
    assert (shown.since_time.seconds, shown.last_error, shown.last_error_time.seconds) == (5, "hold timer expired", 6)
    assert (shown.peer_mac, shown.received_prefixes, shown.accepted_prefixes) == ("02:00:00:00:00:99", 3, 2)
    assert (shown.announced_prefixes, shown.flaps) == (["10.0.0.0/16", "10.250.0.9/32"], 4)
    # It goes on being shown while a change is made, but not of another interconnect of that name.
    update(bgp_api, "dc", preference=9)
    assert get(bgp_api, "dc").session == shown
    bgp.announce("dc", HIDDEN)
    wait_until(lambda: len(routes(bgp_api, "dc").routes) == 4)
    delete(bgp_api, "dc")
    create(bgp_api, direct("dc"))
    assert not get(bgp_api, "dc").HasField("session")
    assert not routes(bgp_api, "dc").routes


@pytest.mark.parametrize("state", SessionState)
def test_every_state_of_a_session(bgp_api: Api, bgp: BgpDaemon, state: SessionState) -> None:
    create(bgp_api, peering("ix", disabled=state is SessionState.DISABLED))
    for bfd in BfdState:
        bgp.say("ix", session=BgpSession(state, bfd=bfd))
        names = f"SESSION_{state.name}", f"BFD_{bfd.name}"
        of = interconnects.InterconnectSession

        def shown(of: type[interconnects.InterconnectSession] = of) -> tuple[str, str]:
            session = get(bgp_api, "ix").session
            return of.State.Name(session.state), of.Bfd.Name(session.bfd)

        wait_until(lambda names=names, shown=shown: shown() == names)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("disabled", "said", "state"),
    [(True, SessionState.ESTABLISHED, "SESSION_DISABLED"), (False, SessionState.DISABLED, "SESSION_CONNECTING")],
)
def test_a_change_counts_before_the_daemon_has_heard_of_it(
    bgp_api: Api, bgp: BgpDaemon, disabled: bool, said: SessionState, state: str
) -> None:
    create(bgp_api, peering("ix", disabled=disabled))
    bgp.say("ix", session=BgpSession(said))
    of = interconnects.InterconnectSession
    wait_until(lambda: of.State.Name(get(bgp_api, "ix").session.state) == state)


def test_changes_are_streamed(bgp_api: Api, bgp: BgpDaemon) -> None:
    create(bgp_api, direct("dc"))
    request = interconnects.WatchInterconnectsRequest(network="networks/office")
    stream = bgp_api.interconnects.WatchInterconnects(request)
    event = next(stream)
    assert (event.type, event.interconnect.name) == (status_pb2.EXISTING, "interconnects/dc")
    assert next(stream).type == status_pb2.SYNCED
    create(bgp_api, direct("other", "lab", vlan=9))
    create(bgp_api, peering("ix"))
    bgp.say("dc", session=SESSION)
    event = next(stream)
    assert (event.type, event.interconnect.session.received_prefixes) == (status_pb2.UPDATED, 3)
    # Routes are no event, their number is one.
    bgp.announce("dc", HIDDEN)
    wait_until(lambda: len(routes(bgp_api, "dc").routes) == 4)
    bgp.say("dc", session=replace(SESSION, received=4))
    event = next(stream)
    assert (event.type, event.interconnect.session.received_prefixes) == (status_pb2.UPDATED, 4)
    update(bgp_api, "dc", disabled=True)
    event = next(stream)
    assert (event.type, event.interconnect.disabled) == (status_pb2.UPDATED, True)
    delete(bgp_api, "dc")
    event = next(stream)
    assert (event.type, event.interconnect.name) == (status_pb2.DELETED, "interconnects/dc")
    stream.cancel()
    everything = bgp_api.interconnects.WatchInterconnects(interconnects.WatchInterconnectsRequest())
    found = {next(everything).interconnect.name for _ in range(2)}
    assert found == {"interconnects/other", "interconnects/ix"}
    everything.cancel()


def test_pages_by_network(bgp_api: Api) -> None:
    for request in (direct("a"), direct("b", "lab", vlan=2), direct("c", vlan=3), peering("d")):
        create(bgp_api, request)
    asked = interconnects.ListInterconnectsRequest(network="networks/office", page_size=1)
    first = bgp_api.interconnects.ListInterconnects(asked)
    asked.page_token = first.next_page_token
    second = bgp_api.interconnects.ListInterconnects(asked)
    found = [one.name for one in (*first.interconnects, *second.interconnects)]
    assert (found, second.next_page_token) == (["interconnects/a", "interconnects/c"], "")
    asked.network = "networks/lab"
    assert refusal(bgp_api.interconnects.ListInterconnects, asked)[0] == "INVALID_ARGUMENT"
    assert len(bgp_api.interconnects.ListInterconnects(interconnects.ListInterconnectsRequest()).interconnects) == 4
    none = interconnects.ListInterconnectsRequest(network="networks/none")
    assert refusal(bgp_api.interconnects.ListInterconnects, none)[0] == "NOT_FOUND"


def test_routes_by_pages(bgp_api: Api, bgp: BgpDaemon) -> None:
    create(bgp_api, direct("dc"))
    assert not routes(bgp_api, "dc").routes
    bgp.say("dc", session=SESSION)
    bgp.announce("dc", HIDDEN)
    wait_until(lambda: len(routes(bgp_api, "dc").routes) == 4)
    first = routes(bgp_api, "dc", page_size=3)
    assert [route.prefix for route in first.routes] == ["0.0.0.0/0", "9.0.0.0/8", "10.9.0.0/16"]
    second = routes(bgp_api, "dc", page_size=3, page_token=first.next_page_token)
    assert [route.prefix for route in second.routes] == ["10.9.0.0/24"]
    assert second.next_page_token == ""
    assert first.routes[1] == interconnects.InterconnectRoute(prefix="9.0.0.0/8", as_path=[65001, 65002], accepted=True)
    assert first.routes[2].med == 7
    refused = routes(bgp_api, "dc", refused=True, page_size=1)
    assert [(route.prefix, route.accepted, route.refusal) for route in refused.routes] == [
        ("0.0.0.0/0", False, "a default route")
    ]
    last = routes(bgp_api, "dc", refused=True, page_size=1, page_token=refused.next_page_token)
    assert ([route.prefix for route in last.routes], last.next_page_token) == (["10.9.0.0/24"], "")
    # What is withdrawn is gone, and pages go on where they were.
    bgp.announce("dc", HIDDEN[2:])
    wait_until(lambda: len(routes(bgp_api, "dc").routes) == 2)
    second = routes(bgp_api, "dc", page_size=3, page_token=first.next_page_token)
    assert [route.prefix for route in second.routes] == ["10.9.0.0/24"]
    for options in ({"page_token": "x"}, {"page_token": refused.next_page_token}, {"page_size": -1}):
        request = interconnects.ListInterconnectRoutesRequest(parent="interconnects/dc", **options)
        assert refusal(bgp_api.interconnects.ListInterconnectRoutes, request)[0] == "INVALID_ARGUMENT"


def test_ten_thousand_routes_are_read_once() -> None:
    announced = [Route(f"10.{at // 250}.{at % 250}.0/24", "65001", 0, "no" if at % 2 else "") for at in range(10_000)]
    learned = LearnedRoutes()
    parts = interconnect_rows.parts(announced)
    for part, text in parts.items():
        learned.put(part, interconnect_rows.part_row("dc", part, text))
    found: list[Route] = []
    after = (-1, -1)
    began = time.process_time()
    while page := learned.page(after, 100, refused=False):
        found += page
        after = interconnect_rows.order(page[-1])
    # A second at most for all 100 pages; sorting anew for each would take many.
    assert time.process_time() - began < 1
    assert found == announced
    assert list(learned.page((-1, -1), 20_000, refused=True)) == announced[1::2]
    part = min(parts)
    learned.put(part, None)
    left = [route for route in announced if interconnect_rows.part_of(route.prefix) != part]
    assert list(learned.page((-1, -1), 20_000, refused=False)) == left
