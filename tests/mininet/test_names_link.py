"""The resolver's namespace and its link: made anew when they are gone, used as they are found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance import RESOLVER, run
from digs import dig, told
from machines import Machine
from sandbox import Sandbox
from sandboxes import Tenants
from supervisor import await_condition

NAMESPACE = "sluice-dns"


@pytest.fixture(scope="module")
def pair(sandbox: Sandbox) -> Iterator[list[Machine]]:
    maker = Tenants(sandbox)
    try:
        yield maker.private(2)
    finally:
        maker.close()


def works(pair: list[Machine]) -> bool:
    """Whether a name is resolved."""
    return dig(pair[0], pair[1].name, "+search", seconds=1) is not None


def index(sandbox: Sandbox) -> str:
    """What tells the device of the bridge's port from one that was made later."""
    return Path(f"/sys/class/net/{sandbox.appliance.settings.resolver_port}/ifindex").read_text()


def test_a_restarted_resolver_uses_what_it_finds(sandbox: Sandbox, pair: list[Machine]) -> None:
    assert works(pair)
    before = index(sandbox)
    sandbox.appliance.restart(RESOLVER)
    await_condition(lambda: works(pair), "names again", 10)
    assert index(sandbox) == before
    assert "link found" in sandbox.appliance.daemon(RESOLVER).tail(50)


def test_a_link_that_is_gone_is_made_anew(sandbox: Sandbox, pair: list[Machine]) -> None:
    before = index(sandbox)
    run(["ip", "link", "delete", sandbox.appliance.settings.resolver_port])
    await_condition(lambda: works(pair), "names again", 15)
    assert index(sandbox) != before


def test_a_link_made_by_halves_is_made_anew(sandbox: Sandbox, pair: list[Machine]) -> None:
    """As one is that its maker was killed over: there, but without its alias."""
    sandbox.appliance.stop(RESOLVER)
    run(["ip", "-n", NAMESPACE, "link", "set", "dns0", "alias", ""])
    run(["ip", "-n", NAMESPACE, "route", "flush", "table", "53"])
    sandbox.appliance.start_one(RESOLVER)
    await_condition(lambda: works(pair), "names again", 15)


def test_a_namespace_that_is_gone_is_made_anew(sandbox: Sandbox, pair: list[Machine]) -> None:
    sandbox.appliance.stop(RESOLVER)
    run(["ip", "netns", "delete", NAMESPACE])
    await_condition(lambda: not Path(f"/sys/class/net/{sandbox.appliance.settings.resolver_port}").exists(), "gone", 5)
    # What is left of it may be its name.
    Path(f"/run/netns/{NAMESPACE}").touch()
    sandbox.appliance.start_one(RESOLVER)
    await_condition(lambda: works(pair), "names again", 15)
    assert told(pair[0], "-x", pair[1].address).status == "NOERROR"
    # What comes by the port is local there and forwarded nowhere.
    assert run(["ip", "netns", "exec", NAMESPACE, "cat", "/proc/sys/net/ipv4/ip_forward"]).strip() == "0"


def test_settings_that_somebody_changed_are_put_right(sandbox: Sandbox, pair: list[Machine]) -> None:
    files = [
        f"/proc/sys/net/ipv4/conf/{device}/{key}"
        for device in ("all", "dns0")
        for key in ("forwarding", "accept_redirects", "send_redirects", "accept_source_route")
    ]
    inside = ["ip", "netns", "exec", NAMESPACE]
    run([*inside, "sh", "-ec", "".join(f"echo 1 >{file};" for file in files)])
    sandbox.appliance.stop(RESOLVER)
    sandbox.appliance.start_one(RESOLVER)
    await_condition(lambda: run([*inside, "cat", *files]).split() == ["0"] * len(files), "put right", 15)
    await_condition(lambda: works(pair), "names again", 15)
