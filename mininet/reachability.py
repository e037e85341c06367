"""Who should reach whom in the sandbox, who does, and the table of both."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import probes
from grid import Cell, draw, legend
from machines import MANAGEMENT, SERVERS
from rich.text import Text
from sandbox import Sandbox, Wanted
from supervisor import PATIENCE

INTERNET = "internet"
ROUTER, ROUTERS, PING, UDP, TCP, APPLIANCE = "router", "others'", "ping", "udp", "tcp", "host"
# Everybody asks everybody at once, and each is the first of its flow.
_SECONDS = 1.0 * PATIENCE
# Column → what it asks; machines are columns too, asked by UDP who they are.
COLUMNS = {
    ROUTER: "the network's own router, by ping",
    ROUTERS: "the routers of other networks, by ping",
    PING: "a server in the Internet, by ping",
    UDP: "the same by UDP",
    TCP: "the same by TCP",
    APPLIANCE: "the appliance's gateway address and its management network, by ping",
}
SERVER = SERVERS[0]


@dataclass(frozen=True, slots=True)
class Remote:
    """What one private network reaches beyond its own prefix: a PC behind its VPN or interconnect, or its drive.

    It says `name` who it is; those that ask themselves (`asks`) reach the
    network's machines and drives, and nobody else beyond; by a VPN (`tunnel`)
    its router too. Without a network it is a host of the Internet, which every
    machine reaches.
    """

    name: str
    network: str
    address: str
    asks: bool = False
    tunnel: bool = False


@dataclass(frozen=True, slots=True)
class Cells:
    """`reach` is row → the columns reached; `outside` is machine → what the Internet saw, or may see.

    `asked` is row → the columns that say something of it.
    """

    columns: tuple[str, ...]
    asked: dict[str, tuple[str, ...]]
    reach: dict[str, frozenset[str]]
    outside: dict[str, str]


def network_of(wanted: Wanted) -> str:
    """The network of a machine: its own, when it was made alone."""
    return wanted.network or wanted.name


def expect(sandbox: Sandbox, machines: Sequence[Wanted], remote: Sequence[Remote] = ()) -> Cells:
    """What the allocations alone say: a machine reaches its network, its router and the Internet, nothing else."""
    outside = {other.name for other in remote if not other.network}
    reach, blocks = {INTERNET: frozenset(outside)}, {}

    def of(network: str, *, asking: bool) -> set[str]:
        inside = {other.name for other in machines if network_of(other) == network}
        return inside | {other.name for other in remote if other.network == network and (asking or not other.asks)}

    for one in machines:
        reach[one.name] = frozenset(of(network_of(one), asking=True) | outside | {ROUTER, PING, UDP, TCP})
        blocks[one.name] = _seen_as(sandbox, one)
    for pc in remote:
        if pc.asks:
            reach[pc.name] = frozenset(of(pc.network, asking=False) | ({ROUTER} if pc.tunnel else set()))
    return Cells(*_frame(machines, remote), reach, blocks)


def _seen_as(sandbox: Sandbox, machine: Wanted) -> str:
    """ADDRESS:FIRST-LAST that the Internet may see of a machine."""
    public = sandbox.machine(machine.name).public_address
    if public:
        return f"{sandbox.public_address(public.partition('/')[2]).address}:1-65535"
    block = sandbox.network(network_of(machine)).port_block
    return f"{block.address}:{block.first_port}-{block.last_port}"


def observe(sandbox: Sandbox, machines: Sequence[Wanted], remote: Sequence[Remote] = ()) -> Cells:
    """What is so: every machine asks every address, and counts who answers by name.

    Asking by name matters where addresses overlap: 10.0.0.2 of one's own
    network answers, but it is not the 10.0.0.2 that was meant.
    """
    leases = {one.name: sandbox.site.machines[one.name].lease for one in machines}
    addresses = {name: lease.address for name, lease in leases.items() if lease}
    routers = {name: lease.router for name, lease in leases.items() if lease}
    for other in remote:
        addresses[other.name] = other.address
        if other.asks and other.network:
            routers[other.name] = sandbox.network(other.network).router_address
    appliance = sandbox.appliance.settings.gateway_address.split("/")[0]

    def look(name: str) -> tuple[frozenset[str], str]:
        pid = sandbox.site.net.get(name).pid
        answers = probes.ask_udp(pid, {*addresses.values(), SERVER}, _SECONDS)
        outside = probes.ask_tcp(pid, [SERVER], 2 * _SECONDS).get(SERVER)
        own = routers.get(name, "")
        pings = probes.ping(pid, {*routers.values(), SERVER, appliance, MANAGEMENT}, _SECONDS)
        found = {to for to, address in addresses.items() if address in answers and answers[address].name == to}
        checks: dict[str, Callable[[], bool]] = {
            ROUTER: lambda: own in pings,
            ROUTERS: lambda: bool(pings & (set(routers.values()) - {own})),
            PING: lambda: SERVER in pings,
            UDP: lambda: SERVER in answers,
            TCP: lambda: outside is not None,
            APPLIANCE: lambda: bool(pings & {appliance, MANAGEMENT}),
        }
        found |= {column for column, holds in checks.items() if column in asked[name] and holds()}
        return frozenset(found), f"{outside.address}:{outside.port}" if outside else ""

    columns, asked = _frame(machines, remote)
    with ThreadPoolExecutor(max_workers=len(asked)) as pool:
        looks = dict(zip(asked, pool.map(look, asked), strict=True))
    return Cells(
        columns,
        asked,
        {name: found for name, (found, _) in looks.items()},
        {one.name: looks[one.name][1] for one in machines},
    )


def _frame(machines: Sequence[Wanted], remote: Sequence[Remote]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    names = tuple(one.name for one in machines)
    askers = tuple(one.name for one in remote if one.asks)
    columns = *names, *(one.name for one in remote), *COLUMNS
    return columns, {row: _asked(row, columns, remote) for row in (*names, *askers, INTERNET)}


def _asked(row: str, columns: Sequence[str], remote: Sequence[Remote]) -> tuple[str, ...]:
    """The columns that say something of a row: not oneself, and not what is its own affair.

    The Internet is at home where the last columns lead; a site beyond a VPN or interconnect has one of its own.
    """
    homes = {other.name for other in remote if not other.network}
    if row == INTERNET:
        without = set(COLUMNS)
    elif row in homes:
        without = set(COLUMNS) - {ROUTERS}
    elif any(row == other.name for other in remote):
        without = {PING, UDP, TCP, *homes}
    else:
        without = set()
    return tuple(column for column in columns if column != row and column not in without)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Expected beside seen."""

    expected: Cells
    seen: Cells

    def differences(self) -> list[str]:
        """Each cell that is not as expected, in words."""
        found = []
        for row, columns in self.expected.asked.items():
            for column in columns:
                cell = self._cell(row, column)
                if cell.expected != cell.seen:
                    found.append(f"{row} → {column}: expected {_word(cell.expected)}, seen {_word(cell.seen)}")
        for name, block in self.expected.outside.items():
            if not _in_block(self.seen.outside.get(name, ""), block):
                found.append(f"{name} was seen as {self.seen.outside.get(name) or 'nobody'}, expected {block}")
        return found

    @property
    def agrees(self) -> bool:
        """Whether everything was as expected."""
        return not self.differences()

    def table(self, width: int) -> Text:
        """Rows are who asks, columns who is asked; then what the marks and the last columns mean."""
        rows = {
            row: {column: self._cell(row, column) for column in asked} for row, asked in self.expected.asked.items()
        }
        meanings = "\n".join(f"{column:8} {meaning}" for column, meaning in COLUMNS.items())
        return Text("\n\n").join([draw(self.expected.columns, rows, width), legend(), Text(meanings)])

    def translations(self) -> list[str]:
        """What the Internet saw of each machine, and the block it should be in."""
        return [
            f"{name:9} {self.seen.outside.get(name) or 'not seen':20} block {block}"
            for name, block in self.expected.outside.items()
        ]

    def verdict(self) -> str:
        """One line when all is as expected, else one for each difference."""
        differences = self.differences()
        cells = sum(map(len, self.expected.asked.values())) + len(self.expected.outside)
        if not differences:
            return f"All {cells} expectations hold."
        return "\n".join([f"{len(differences)} of {cells} expectations do not hold:", *differences])

    def _cell(self, row: str, column: str) -> Cell:
        return Cell(column in self.expected.reach[row], column in self.seen.reach[row])


def _word(reached: bool) -> str:
    return "yes" if reached else "no"


def _in_block(seen: str, block: str) -> bool:
    address, _, port = seen.partition(":")
    block_address, _, ports = block.partition(":")
    first, _, last = ports.partition("-")
    if not port or ipaddress.ip_address(address) != ipaddress.ip_address(block_address):
        return False
    return int(first) <= int(port) <= int(last)
