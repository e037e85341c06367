"""Passwords of interconnects: they are kept, changed and removed, and nobody reads them."""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path

import pytest

from agent.api.calls import idempotency
from agent.store import Store
from sluice.v1 import interconnect_pb2 as interconnects
from sluice.v1 import status_pb2
from state.model import State
from tests.agents import Api, Database, network, opened, refusal, served
from tests.interconnect_calls import PASSWORD, BgpDaemon, changed, create, direct, get, peering, update


def stored(store: Store, name: str) -> str:
    return store.cache.interconnects.by_name[name].interconnect.password


def test_a_password_from_set_to_removed(bgp_api: Api, store: Store, bgp: BgpDaemon) -> None:
    made = create(bgp_api, direct("dc"))
    assert (made.has_password, stored(store, "dc")) == (False, "")
    made = update(bgp_api, "dc", password=PASSWORD)
    assert (made.has_password, made.password) == (True, "")
    assert store.seal.open(stored(store, "dc")) == PASSWORD
    revision, sealed = bgp.revision("dc"), stored(store, "dc")
    update(bgp_api, "dc", password=PASSWORD)
    # The same one again, and what a client read written back.
    bgp_api.interconnects.UpdateInterconnect(interconnects.UpdateInterconnectRequest(interconnect=get(bgp_api, "dc")))
    assert (bgp.revision("dc"), stored(store, "dc")) == (revision, sealed)
    update(bgp_api, "dc", preference=7)
    assert stored(store, "dc") == sealed
    update(bgp_api, "dc", password="another")
    assert store.seal.open(stored(store, "dc")) == "another"
    changed = bgp.revision("dc")
    assert changed > revision
    made = update(bgp_api, "dc", "password")
    assert (made.has_password, stored(store, "dc")) == (False, "")
    assert bgp.revision("dc") > changed


def test_nobody_reads_passwords(
    bgp_api: Api, store: Store, server: Database, bgp: BgpDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stream = bgp_api.interconnects.WatchInterconnects(interconnects.WatchInterconnectsRequest())
    assert next(stream).type == status_pb2.SYNCED
    shown: list[object] = []
    for request in (
        direct("dc", password=PASSWORD, request_id=str(uuid.uuid4())),
        peering("ix", password=PASSWORD, request_id=str(uuid.uuid4())),
    ):
        shown += [create(bgp_api, request), next(stream)]
    bgp.say("dc", State.ERROR, "the password was sealed with another key")
    shown.append(next(stream))
    stream.cancel()
    shown += [get(bgp_api, "dc"), update(bgp_api, "ix", password=PASSWORD + "2"), update(bgp_api, "ix", preference=7)]
    shown.append(bgp_api.interconnects.ListInterconnects(interconnects.ListInterconnectsRequest()))
    # Too long, with a character that is not allowed, beside a wrong field, in a place that is taken.
    for refused in (
        direct("b", vlan=9, password=PASSWORD * 9),
        direct("b", vlan=9, password=PASSWORD + "\n"),
        direct("b", vlan=9, password=PASSWORD, peer_as=0),
        direct("b", password=PASSWORD),
    ):
        code, message, details = refusal(bgp_api.interconnects.CreateInterconnect, refused)
        assert code in ("INVALID_ARGUMENT", "ALREADY_EXISTS")
        shown += [message, details]
    shown += refusal(bgp_api.interconnects.UpdateInterconnect, changed("dc", password=PASSWORD + " "))
    shown += [repr(store.interconnect(name)) for name in ("dc", "ix")]
    shown += [caplog.text, *(record.__dict__ for record in caplog.records)]
    sealed = [stored(store, name) for name in ("dc", "ix")]
    kept = [server.dump(), Path(server.directory, "conf.db").read_text()]
    assert all(secret in kept[0] for secret in sealed)
    assert not [place for place in kept if PASSWORD in place]
    assert not [secret for secret in (PASSWORD, *sealed) for place in shown if secret in str(place)]


def test_a_digest_does_not_tell_the_password(bgp_api: Api, server: Database) -> None:
    """Whoever reads the database cannot try passwords until the digest of a request is right."""
    request = direct("dc", password=PASSWORD, request_id=str(uuid.uuid4()))
    made = create(bgp_api, request)
    (row,) = json.loads(server.dump("Request"))["data"]
    assert idempotency(request, "CreateInterconnect").digest not in row
    assert create(bgp_api, request) == made
    request.interconnect.password = "another"
    assert refusal(bgp_api.interconnects.CreateInterconnect, request)[0] == "INVALID_ARGUMENT"


def test_without_a_key_that_can_be_used(server: Database) -> None:
    with opened(server, vpn_key=f"{server.directory}/none/vpn.key") as store, served(store) as api:
        api.networks.CreateNetwork(network("office"))
        create(api, direct("open"))
        for call, request in (
            (api.interconnects.CreateInterconnect, direct("dc", vlan=9, password=PASSWORD)),
            (
                api.interconnects.CreateInterconnect,
                direct("dc", vlan=9, password=PASSWORD, request_id=str(uuid.uuid4())),
            ),
            (api.interconnects.UpdateInterconnect, changed("open", password=PASSWORD)),
        ):
            code, message, details = refusal(call, request)
            assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "NO_SEALING_KEY")
            assert "[vpn] key" in message
        update(api, "open", "password")
        Path(server.directory, "none").mkdir()
        assert update(api, "open", password=PASSWORD).has_password
