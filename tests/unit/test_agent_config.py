"""The configuration: everything right is taken, every mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import ConfigError, load, parse
from agent.config.values import TIMEOUTS
from agent.ipam.appliance_pools import Pools
from state.model import Appliance

LEAST = """
[gateway]
port = "uplink"
address = "203.0.113.2/24"
next_hop = "203.0.113.1"
[pools]
nat = ["203.0.113.7"]
"""
REFERENCE = Path(__file__).resolve().parents[2] / "deploy" / "sluice.toml"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return caught.value.problems


def test_least_configuration_has_the_model_s_defaults() -> None:
    config = parse(LEAST)
    defaults = Appliance(config.appliance.gateway, ("203.0.113.7",))
    assert config.appliance == defaults
    assert (config.reuse_after_seconds, config.api.listen) == (300, ("unix:/run/sluice/api.sock",))


def test_reference_configuration_is_right_and_says_what_the_defaults_are() -> None:
    config = load(str(REFERENCE))
    least = parse(LEAST)
    assert (config.api, config.bridge, config.limits) == (least.api, least.bridge, least.limits)
    assert config.conntrack == least.conntrack
    assert (config.database, config.bgp_as) == (least.database, least.bgp_as)
    assert config.appliance.transit_pool == least.appliance.transit_pool
    assert config.appliance.block_size == least.appliance.block_size


def test_settings_survive_the_database() -> None:
    appliance = parse(LEAST).appliance
    assert Appliance.from_settings(appliance.to_settings()) == appliance


def test_every_mistake_is_named_at_once() -> None:
    found = problems(
        """
        [gateway]
        port = "a port that is too long"
        address = "203.0.113.0/24"
        mtu = 100
        [pools]
        nat = []
        block_size = 1000
        transit = ["100.64.0.0/20"]
        colour = "blue"
        [api]
        listen = ["nowhere"]
        [dhcp]
        lease_seconds = true
        [extra]
        """
    )
    for named in (
        "gateway.port is",
        "gateway.address is '203.0.113.0/24'; allowed:",
        "gateway.next_hop is missing",
        "gateway.mtu is 100; allowed: a whole number from 576 to 9000",
        "pools.nat is []; allowed:",
        "pools.block_size is 1000; allowed: a power of two",
        "pools.transit is ['100.64.0.0/20']; allowed:",
        "pools.colour is not a setting",
        "api.listen is ['nowhere']; allowed:",
        "dhcp.lease_seconds is True; allowed:",
        "[extra] is not a section",
    ):
        assert sum(problem.startswith(named) for problem in found) == 1, (named, found)
    assert len(found) == 11


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ('next_hop = "203.0.113.1"|next_hop = "192.0.2.1"', "gateway.next_hop is 192.0.2.1"),
        (
            'next_hop = "203.0.113.1"|next_hop = "203.0.113.2"',
            "gateway.next_hop is 203.0.113.2; allowed: another address",
        ),
        ('nat = ["203.0.113.7"]|nat = ["203.0.113.1"]', "pools.nat 203.0.113.1 has no address"),
        (
            'nat = ["203.0.113.7"]|nat = ["172.20.0.0/24"]',
            "pools.isolated 172.16.0.0/12 overlaps pools.nat 172.20.0.0/24",
        ),
        ('nat = ["203.0.113.7"]|nat = ["127.0.0.1"]', "pools.nat 127.0.0.1/32 overlaps 127.0.0.0/8"),
        (
            'nat = ["203.0.113.7"]|nat = ["203.0.113.7"]\nisolated = ["10.0.0.0/24", "10.0.0.0/28"]',
            "pools.isolated 10.0.0.0/28 overlaps pools.isolated 10.0.0.0/24",
        ),
        (
            'nat = ["203.0.113.7"]|nat = ["203.0.113.7"]\npublic = ["203.0.113.0/28"]',
            "pools.public 203.0.113.0/28 overlaps pools.nat 203.0.113.7/32",
        ),
        (
            'nat = ["203.0.113.7"]|nat = ["203.0.113.7"]\npublic = ["10.1.0.0/28"]',
            "pools.private 10.0.0.0/8 overlaps pools.public 10.1.0.0/28",
        ),
        (
            'nat = ["203.0.113.7"]|nat = ["203.0.113.7"]\npublic = ["203.0.113.1/32"]',
            "pools.public 203.0.113.1/32 has no address that the gateway's subnet does not need itself",
        ),
        (
            '[pools]|[storage]\nport = "disks"\naddress = "203.0.113.130/25"\n[pools]',
            "storage.address 203.0.113.128/25 overlaps gateway.address 203.0.113.0/24",
        ),
        (
            '[pools]|[storage]\nport = "disks"\naddress = "10.250.0.2/24"\nclients = "10.250.0.0/15"\n[pools]',
            "storage.clients 10.250.0.0/15 overlaps storage.address 10.250.0.0/24",
        ),
        (
            '[pools]|[storage]\nport = "disks"\naddress = "10.250.0.2/24"\nclients = "224.0.0.0/15"\n[pools]',
            "storage.clients 224.0.0.0/15 overlaps pools.transit 224.0.0.0/3",
        ),
        (
            '[pools]|[storage]\nport = "uplink"\naddress = "10.250.0.2/24"\n[pools]',
            "storage.port is uplink; allowed: another port than gateway.port",
        ),
        (
            '[pools]|[storage]\nport = "disks"\naddress = "10.250.0.2/24"\n[dns]\nport = "disks"\n[pools]',
            "dns.port is disks; allowed: another port than storage.port",
        ),
        ('[pools]|[dns]\nport = "br-sluice"\n[pools]', "dns.port is br-sluice; allowed: another port than bridge.name"),
    ],
)
def test_settings_that_contradict_each_other(changed: str, named: str) -> None:
    before, after = changed.split("|")
    assert before in LEAST
    assert any(problem.startswith(named) for problem in problems(LEAST.replace(before, after)))


def test_the_storage_network_may_be_within_the_private_pool() -> None:
    config = parse(LEAST + '[storage]\nport = "disks"\naddress = "10.250.0.2/24"\n')
    assert "10.250.0.0/16" not in set(Pools(config.appliance, 0).private.free(0))


def test_isolated_and_private_pools_may_overlap() -> None:
    parse(LEAST + 'isolated = ["10.0.0.0/12"]\n')


def test_the_key_of_vpn_secrets() -> None:
    assert parse(LEAST).vpn_key == "/var/lib/sluice/vpn.key"
    assert parse(f'{LEAST}[vpn]\nkey = "/etc/sluice/vpn.key"').vpn_key == "/etc/sluice/vpn.key"
    for wrong in ('"vpn.key"', '""', '"/etc/sluice/"', "7"):
        (problem,) = problems(f"{LEAST}[vpn]\nkey = {wrong}")
        assert problem.endswith("allowed: an absolute path of a file")


def test_the_as_number() -> None:
    assert parse(LEAST).bgp_as == 64512
    assert parse(f"{LEAST}[bgp]\nas = 4200000000").bgp_as == 4200000000
    for wrong in ("0", "23456", "65535", "4294967295", '"64512"', "true"):
        (problem,) = problems(f"{LEAST}[bgp]\nas = {wrong}")
        assert problem.startswith("bgp.as is ")
        assert "allowed: a whole number, 1 to 4294967294" in problem


def test_not_toml_and_no_file() -> None:
    assert problems("[gateway")[0].startswith("not TOML")
    with pytest.raises(ConfigError, match="No such file"):
        load("/nonexistent/sluice.toml")


def test_conntrack_settings_are_taken_and_the_hash_table_follows() -> None:
    conntrack = parse(LEAST + "[conntrack]\nmax_entries = 100000\ntcp_established_seconds = 300\n").conntrack
    assert (conntrack.max_entries, conntrack.buckets) == (100_000, 100_352)
    assert conntrack.timeouts == {**TIMEOUTS, "tcp_established": 300}


@pytest.mark.parametrize("setting", ["max_entries = 65535", "udp_first_seconds = 0", "tcp_syn_recv_seconds = 864001"])
def test_conntrack_settings_have_limits(setting: str) -> None:
    (found,) = problems(f"{LEAST}[conntrack]\n{setting}\n")
    assert found.startswith(f"conntrack.{setting.replace(' =', ' is')}; allowed: a whole number from ")
