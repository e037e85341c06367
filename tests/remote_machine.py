"""A second hop of the Internet: a host behind the next hop, over a link with a smaller MTU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from appliance import run
from machines import Machine
from sandbox import Sandbox

FAR = "198.51.101.1"
NARROW_MTU = 1300
_FAR_NAME, _LINK = "far", "beyond"


@pytest.fixture(scope="module")
def remote(sandbox: Sandbox) -> Iterator[Machine]:
    """A host `far` with the address FAR, and echo servers, behind the Internet host as a router."""
    internet = sandbox.internet
    far: Machine = sandbox.site.net.addHost(_FAR_NAME, cls=Machine)
    link = ["ip", "link", "add", _LINK, "mtu", str(NARROW_MTU), "netns", str(internet.pid), "type", "veth"]
    run([*link, "peer", "name", _LINK, "mtu", str(NARROW_MTU), "netns", str(far.pid)])
    try:
        internet.run(
            "sh",
            "-ec",
            f"ethtool -K {_LINK} tx off >/dev/null; ip link set {_LINK} up; ip route add {FAR}/32 dev {_LINK}; "
            "sysctl -qw net.ipv4.ip_forward=1",
        )
        far.run(
            "sh",
            "-ec",
            f"ethtool -K {_LINK} tx off >/dev/null; ip link set lo up; ip link set {_LINK} up; "
            f"ip address add {FAR}/32 dev {_LINK}; ip route add default dev {_LINK} onlink via 203.0.113.1",
        )
        sandbox.responders.add(_FAR_NAME, far.pid)
        yield far
    finally:
        internet.run("sh", "-c", f"sysctl -qw net.ipv4.ip_forward=0; ip link del {_LINK}; ip route flush cache")
        sandbox.responders.remove(_FAR_NAME)
        sandbox.site.net.delHost(far)
