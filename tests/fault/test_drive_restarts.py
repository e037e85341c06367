"""Mounted drives outlive every daemon of the appliance."""

from __future__ import annotations

import pytest
from appliance import AGENT, CONTROLLER, DATABASE, SWITCH
from sandbox import Sandbox
from storage_world import (
    FILES,
    LIVE,
    TILL,
    Storage,
    assert_prohibited,
    echo_of,
    exchange,
    opened,
    stack,
    status,
    storage,
)
from supervisor import await_condition

__all__ = ["stack", "storage"]


@pytest.mark.parametrize("daemon", [CONTROLLER, AGENT, DATABASE])
def test_drives_stay_mounted_while_the_appliance_restarts(sandbox: Sandbox, storage: Storage, daemon: str) -> None:
    with opened(storage.one.machines[0], FILES) as connection:
        sandbox.appliance.stop(daemon)
        assert exchange(connection, b"meanwhile")
        sandbox.appliance.start_one(daemon)
        sandbox.appliance.wait_ready()
        await_condition(lambda: status(sandbox, "files") == LIVE, "live", 10)
        assert exchange(connection, b"afterwards")


def test_drives_are_back_with_the_switch(sandbox: Sandbox, storage: Storage) -> None:
    deaths = len(sandbox.appliance.daemon(SWITCH).deaths)
    sandbox.appliance.kill(SWITCH)
    sandbox.appliance.await_restart(SWITCH, deaths)
    sandbox.appliance.wait_ready()
    for tenancy in (storage.one, storage.two):
        await_condition(lambda t=tenancy: echo_of(t.machines[0], t.host.address) == t.host.name, "reached again", 10)
    assert_prohibited(storage.one.machines[0], TILL)
