"""What a network's machines are told of names: options of `create` and `set`, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from cli.options import options
from sluice.v1 import network_pb2

name_options = options(
    click.option("--dns", multiple=True, metavar="ADDRESS",
                 help="Resolver for DHCP; may be repeated; '' is the router.  [default: the router]"),
    click.option("--search-domain", metavar="DOMAIN",
                 help="Search domain for DHCP; '' is the network's own.  [default: NETWORK.internal]"),
    click.option("--forward", multiple=True, metavar="DOMAIN=SERVER[,SERVER]",
                 help="Names in a domain that other servers answer; may be repeated; '' is none."),
)  # fmt: skip


def resolvers(dns: Sequence[str]) -> list[str]:
    """Addresses given; '' alone is none."""
    return [address for address in dns if address]


def forwarding(rules: Iterable[str]) -> list[network_pb2.DnsForwarding]:
    """Rules given as `DOMAIN=SERVER[,SERVER]`; '' alone is none. Raises click.UsageError."""
    found = []
    for rule in filter(None, rules):
        domain, equals, servers = rule.partition("=")
        if not (domain and equals and servers):
            raise click.UsageError(f"--forward {rule!r} is not DOMAIN=SERVER[,SERVER]")
        found.append(network_pb2.DnsForwarding(domain=domain, servers=servers.split(",")))
    return found


def shown(network: network_pb2.Network) -> list[tuple[str, object]]:
    """Rows for people."""
    rules = [f"{rule.domain}={','.join(rule.servers)}" for rule in network.dns_forwarding]
    return [
        ("DNS", ", ".join(network.dns_servers)),
        ("search domain", network.search_domain),
        ("forwarding", "; ".join(rules)),
    ]
