"""Checks requests, by pure functions that yield every wrong field.

Resource names and identifiers follow https://google.aip.dev/122, hostnames
RFC 1123 section 2.1, each answer names field, value and what is allowed.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Collection, Iterator, Sequence

from agent.errors import Violation
from agent.requests import (
    AttachmentSpec,
    DnsForwardingRule,
    DriveSpec,
    MachineSpec,
    MachineUpdate,
    NetworkSpec,
    NetworkUpdate,
    PublicAddressSpec,
    PublicAddressUpdate,
)
from state.addresses import ipv4_address
from state.model import Storage
from state.prefixes import NOT_INTERNET

MAX_BATCH = 1000
MAX_PAGE = 1000
DEFAULT_PAGE = 100
DEFAULT_MTU = 1500
MAX_TENANT = 63
MAX_RESOLVERS = 8
MAX_VNI = (1 << 24) - 1
MAX_FORWARDING = 16
MAX_SERVERS = 4
LEAST_RATE, MOST_RATE = 64, 100_000_000

_IDENTIFIER = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PORT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_LEG = re.compile(r"vpn[0-9]+-(in|out)|bgp[0-9]+")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")

IDENTIFIER_RULE = "1 to 63 of a-z, 0-9 and '-', starting with a letter, ending with a letter or digit"


def is_label(value: str) -> bool:
    """Whether `value` is a host name label in lower case (RFC 1123 section 2.1)."""
    return _LABEL.fullmatch(value) is not None


def is_domain(value: str) -> bool:
    """Whether `value` is a domain name in lower case, without a dot at the end (RFC 1123 section 2.1)."""
    return len(value) <= 253 and all(is_label(label) for label in value.split("."))


def is_port_name(value: str) -> bool:
    """Whether `value` can name a port: what Linux takes as an interface name, printable."""
    return _PORT_NAME.fullmatch(value) is not None and value not in (".", "..")


def is_mac(value: str) -> bool:
    """Whether `value` is a unicast Ethernet address, not all zeros."""
    if _MAC.fullmatch(value) is None:
        return False
    return int(value[:2], 16) & 1 == 0 and value != "00:00:00:00:00:00"


def wrong(field: str, value: object, allowed: str) -> Violation:
    """The violation that says `field` holds `value` and what is `allowed`."""
    text = repr(value)
    return Violation(field, f"{field} is {text if len(text) <= 80 else text[:77] + '...'}; allowed: {allowed}")


def identifier(field: str, value: str) -> Iterator[Violation]:
    """Check an identifier the client chose; empty is fine."""
    if value and _IDENTIFIER.fullmatch(value) is None:
        yield wrong(field, value, f"{IDENTIFIER_RULE}, or empty for one chosen by the appliance")


def resource_name(field: str, value: str, collection: str) -> Iterator[Violation]:
    """Check a resource name `COLLECTION/IDENTIFIER`."""
    head, _, tail = value.partition("/")
    if head != collection or _IDENTIFIER.fullmatch(tail) is None:
        yield wrong(field, value, f"{collection}/IDENTIFIER, the identifier {IDENTIFIER_RULE}")


def request_id(field: str, value: str) -> Iterator[Violation]:
    """Check a request id (https://google.aip.dev/155); empty is fine."""
    try:
        right = not value or str(uuid.UUID(value)) == value.lower()
    except ValueError:
        right = False
    if not right:
        yield wrong(field, value, "a UUID, xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx, or empty")


def page_size(value: int) -> Iterator[Violation]:
    """Check the page size of a list request."""
    if value < 0:
        yield wrong(
            "page_size", value, f"0 (meaning {DEFAULT_PAGE}), or as many as wanted; {MAX_PAGE} are given at most"
        )


def tenant(field: str, value: str) -> Iterator[Violation]:
    """Check a customer's name."""
    if len(value) > MAX_TENANT or not value.isprintable():
        yield wrong(field, value, f"at most {MAX_TENANT} printable characters")


def requested_prefix(field: str, value: str, own: Sequence[tuple[str, str]]) -> Iterator[Violation]:
    """Check the /16 asked for; `own` are the appliance's (prefix, what it is)."""
    rule = "a /16 IPv4 prefix without host bits, or empty for one chosen by the appliance"
    try:
        prefix = ipaddress.IPv4Network(value)
    except ValueError:
        yield wrong(field, value, rule)
        return
    if prefix.prefixlen != 16 or str(prefix) != value:
        yield wrong(field, value, rule)
        return
    for taken, what in own:
        if prefix.overlaps(ipaddress.IPv4Network(taken)):
            yield wrong(field, value, f"a /16 that does not overlap {taken}, {what}")
            return


def new_network(request: NetworkSpec, own: Sequence[tuple[str, str]]) -> list[Violation]:
    """Every violation of a request to create a network that needs no look at other objects."""
    found = [*identifier("network_id", request.name), *tenant("network.tenant", request.tenant)]
    if request.kind not in ("ISOLATED", "PRIVATE"):
        found.append(wrong("network.kind", request.kind, "ISOLATED or PRIVATE"))
    if request.prefix and request.kind == "ISOLATED":
        found.append(wrong("network.prefix", request.prefix, "empty for an ISOLATED network"))
    elif request.prefix:
        found += requested_prefix("network.prefix", request.prefix, own)
    found += resolvers("network.dns_servers", request.dns_servers)
    if request.mtu and not 576 <= request.mtu <= 9000:
        found.append(wrong("network.mtu", request.mtu, f"576 to 9000, or 0 (meaning {DEFAULT_MTU})"))
    found += search_domain("network.search_domain", request.search_domain)
    found += forwarding("network.dns_forwarding", request.dns_forwarding)
    found += limits("network.limits", request.public_rate, request.storage_rate)
    return found


def network_change(change: NetworkUpdate) -> list[Violation]:
    """Every violation of a change of a network that needs no look at other objects."""
    return [
        *resolvers("network.dns_servers", change.dns_servers or ()),
        *search_domain("network.search_domain", change.search_domain or ""),
        *forwarding("network.dns_forwarding", change.dns_forwarding or ()),
        *limits("network.limits", change.public_rate or 0, change.storage_rate or 0),
    ]


def resolvers(field: str, servers: Sequence[str]) -> Iterator[Violation]:
    """Check the resolvers handed out by DHCP."""
    if len(servers) > MAX_RESOLVERS:
        yield wrong(field, list(servers), f"at most {MAX_RESOLVERS} addresses")
    for at, server in enumerate(servers):
        address = ipv4_address(server)
        if address is None or address.is_multicast or address.is_unspecified or server in servers[:at]:
            yield wrong(f"{field}[{at}]", server, "a unicast IPv4 address, each only once")


def search_domain(field: str, value: str) -> Iterator[Violation]:
    """Check a search domain; empty means the network's own."""
    if value and not is_domain(value.lower()):
        yield wrong(field, value, "a domain name, corp.example, or empty for the network's own")


def limits(field: str, public_rate: int, storage_rate: int) -> Iterator[Violation]:
    """Check rates in kbit/s; 0 means the appliance's default."""
    for name, value in (("public_kbps", public_rate), ("storage_kbps", storage_rate)):
        if value and not LEAST_RATE <= value <= MOST_RATE:
            yield wrong(f"{field}.{name}", value, f"{LEAST_RATE} to {MOST_RATE}, or 0 for the appliance's default")


def forwarding(field: str, rules: Sequence[DnsForwardingRule]) -> Iterator[Violation]:
    """Check forwarding rules by themselves; `forwarding_within` checks them against their network."""
    if len(rules) > MAX_FORWARDING:
        yield wrong(field, len(rules), f"at most {MAX_FORWARDING} rules")
    domains = [rule.domain.lower() for rule in rules[:MAX_FORWARDING]]
    for at, rule in enumerate(rules[:MAX_FORWARDING]):
        path = f"{field}[{at}]"
        if not is_domain(domains[at]) or domains[at] in domains[:at]:
            yield wrong(f"{path}.domain", rule.domain, "a domain name, corp.example, each only once")
        if not 1 <= len(rule.servers) <= MAX_SERVERS or len(set(rule.servers)) < len(rule.servers):
            yield wrong(f"{path}.servers", list(rule.servers), f"1 to {MAX_SERVERS} IPv4 addresses, each only once")
        for number, server in enumerate(rule.servers[:MAX_SERVERS]):
            if ipv4_address(server) is None:
                yield wrong(f"{path}.servers[{number}]", server, "an IPv4 address")


def forwarding_within(
    field: str,
    rules: Sequence[DnsForwardingRule],
    own_domain: str,
    prefix: str,
    own: Sequence[tuple[str, str]],
    remote_prefixes: Sequence[str] = (),
) -> Iterator[Violation]:
    """Check forwarding rules against the network's `prefix`, the appliance's domain and its `own` prefixes.

    A server of the Internet is asked from the appliance's host: no rule may
    make that ask an address of its own networks. Those in
    `remote_prefixes`, of the network's VPN connections, are asked through them.
    """
    network = ipaddress.IPv4Network(prefix)
    router, last = network.network_address + 1, network.broadcast_address
    closed = [ipaddress.IPv4Network(p) for p in (*NOT_INTERNET, *(p for p, _ in own))]
    remote = [ipaddress.IPv4Network(p) for p in remote_prefixes]
    for at, rule in enumerate(rules):
        domain = rule.domain.lower()
        if domain == own_domain or domain.endswith(f".{own_domain}"):
            yield wrong(f"{field}[{at}].domain", rule.domain, f"a domain outside of {own_domain}, the appliance's own")
        for number, server in enumerate(rule.servers):
            address = ipaddress.IPv4Address(server)
            joined = router < address < last or any(address in prefix for prefix in remote)
            if not joined and any(address in prefix for prefix in closed):
                allowed = f"an address of {prefix} other than the router's, of a VPN's remote prefix or of the Internet"
                yield wrong(f"{field}[{at}].servers[{number}]", server, allowed)


def attachment(field: str, value: AttachmentSpec | None, own_ports: Collection[str]) -> Iterator[Violation]:
    """Check where a machine meets the appliance; `own_ports` are the gateway's and the bridge's own."""
    if value is None:
        yield Violation(field, f"{field} is not set; allowed: a port, alone or with a vlan or a vni")
        return
    yield from port(f"{field}.port", value.port, own_ports)
    if value.vlan is not None and not 1 <= value.vlan <= 4094:
        yield wrong(f"{field}.vlan", value.vlan, "1 to 4094")
    if value.vni is not None and not 1 <= value.vni <= MAX_VNI:
        yield wrong(f"{field}.vni", value.vni, f"1 to {MAX_VNI}")


def port(field: str, value: str, own_ports: Collection[str]) -> Iterator[Violation]:
    """Check the port of the bridge at which somebody else begins; `own_ports` are as for an attachment."""
    if not is_port_name(value):
        yield wrong(field, value, "1 to 15 of A-Z, a-z, 0-9, '_', '.' and '-'")
    elif value in own_ports:
        yield wrong(field, value, f"a port other than the appliance's own, {' and '.join(own_ports)}")
    elif _LEG.fullmatch(value):
        yield wrong(field, value, "a port other than the legs of VPN gateways and interconnects, the appliance's own")


def mac(field: str, value: str, own_macs: Collection[str]) -> Iterator[Violation]:
    """Check a machine's Ethernet address."""
    if not is_mac(value):
        yield wrong(field, value, "a unicast Ethernet address, 02:00:00:00:00:01")
    elif value.lower() in own_macs:
        yield wrong(field, value, f"an address other than the appliance's own: {', '.join(sorted(own_macs))}")


def hostname(field: str, value: str) -> Iterator[Violation]:
    """Check a host name; empty means the identifier."""
    if value and not is_label(value.lower()):
        yield wrong(field, value, "a host name label: 1 to 63 of a-z, 0-9 and '-', not starting or ending with '-'")


def new_machine(request: MachineSpec, own_ports: Collection[str], own_macs: Collection[str]) -> list[Violation]:
    """Every violation of a request to create a machine that needs no look at other objects."""
    found = list(identifier("machine_id", request.name))
    if request.network:
        found += resource_name("machine.network", request.network, "networks")
    found += mac("machine.mac_address", request.mac, own_macs)
    if request.address and ipv4_address(request.address) is None:
        found.append(wrong("machine.address", request.address, "an IPv4 address, or empty for the lowest free one"))
    elif request.address and not request.network:
        found.append(wrong("machine.address", request.address, "empty for a machine without a network"))
    found += hostname("machine.hostname", request.hostname)
    found += attachment("machine.attachment", request.attachment, own_ports)
    found += tenant("machine.tenant", request.tenant)
    found += limits("machine.limits", request.public_rate, request.storage_rate)
    if request.public_address:
        found += resource_name("machine.public_address", request.public_address, "publicAddresses")
    return found


def address_in(field: str, value: str, prefix: str) -> Iterator[Violation]:
    """Check an address asked for against the network's prefix: the second usable one onwards."""
    network = ipaddress.IPv4Network(prefix)
    low, high = network.network_address + 2, network.broadcast_address - 1
    if not low <= ipaddress.IPv4Address(value) <= high:
        yield wrong(field, value, f"{low} to {high}, or empty for the lowest free one")


def machine_change(change: MachineUpdate, own_ports: Collection[str], own_macs: Collection[str]) -> list[Violation]:
    """Every violation of a change of a machine."""
    found: list[Violation] = []
    if change.mac is not None:
        found += mac("machine.mac_address", change.mac, own_macs)
    if change.hostname is not None:
        found += hostname("machine.hostname", change.hostname)
    if change.attachment is not None:
        found += attachment("machine.attachment", change.attachment, own_ports)
    found += limits("machine.limits", change.public_rate or 0, change.storage_rate or 0)
    return found


def new_public_address(request: PublicAddressSpec) -> list[Violation]:
    """Every violation of a request for a public address that needs no look at other objects."""
    found = list(identifier("public_address_id", request.name))
    if request.address and ipv4_address(request.address) is None:
        allowed = "an IPv4 address, or empty for the lowest free one"
        found.append(wrong("public_address.address", request.address, allowed))
    return [*found, *public_address_change(PublicAddressUpdate(request.machine, request.tenant))]


def public_address_change(change: PublicAddressUpdate) -> list[Violation]:
    """Every violation of a change of a public address."""
    found: list[Violation] = []
    if change.machine:
        found += resource_name("public_address.machine", change.machine, "machines")
    if change.tenant is not None:
        found += tenant("public_address.tenant", change.tenant)
    return found


def new_drive(request: DriveSpec, storage: Storage | None) -> list[Violation]:
    """Every violation of a request for a drive that needs no look at other objects."""
    found = list(identifier("drive_id", request.name))
    found += resource_name("drive.network", request.network, "networks")
    address = ipv4_address(request.address)
    if address is None:
        found.append(wrong("drive.address", request.address, "an IPv4 address of the storage network"))
    elif storage is not None:
        prefix = ipaddress.IPv4Interface(storage.address).network
        own = (storage.ip, str(prefix.network_address), str(prefix.broadcast_address))
        if address not in prefix or request.address in own:
            allowed = f"an address of {prefix}, the storage network, other than {storage.ip}, the appliance's"
            found.append(wrong("drive.address", request.address, allowed))
    return found


def public_address(address: str) -> Iterator[Violation]:
    """Check the question who had a public address."""
    if ipv4_address(address) is None:
        yield wrong("address", address, "an IPv4 address")


def public_port(port: int) -> Iterator[Violation]:
    """Check the question who used a port of a shared address."""
    if not 1 <= port <= 65535:
        yield wrong("port", port, "1 to 65535")
