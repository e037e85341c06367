"""The appliance's pools, made from its settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.ipam.pool import Pool, address_pool, host_pool, number_pool, port_block_pool, prefix_pool
from agent.ipam.transit_addresses import TransitPool
from state.model import Appliance
from state.prefixes import own_prefixes
from state.public import assignable_prefixes, public_addresses

# OVS's userspace datapath has 262,144 meters, of which each kind of limit has 14,592.
LAST_NUMBER = 14591
LAST_INTERCONNECT = 4095

# Conntrack zones of public addresses (0 and 1 are the appliance's own), and how long one rests at least, in ms:
# longer than Linux keeps the state of a connection that ended or of an exchange over UDP.
FIRST_ZONE, LAST_ZONE = 2, 65535
ZONE_REST = 180_000


class Pools:
    """Every pool of one appliance; `cooldown` is the time in ms a released value stays out."""

    def __init__(self, appliance: Appliance, cooldown: int) -> None:
        own = [prefix for prefix, _ in own_prefixes(appliance)]
        self._cooldown = cooldown
        self.key = number_pool("key", LAST_NUMBER)
        self.number = number_pool("number", LAST_NUMBER)
        self.interconnect = number_pool("interconnect", LAST_INTERCONNECT)
        self.isolated = prefix_pool("isolated-prefix", appliance.isolated_pool, 30, cooldown=cooldown, without=own)
        self.private = prefix_pool("private-prefix", appliance.private_pool, 16, without=own)
        self.transit = TransitPool(appliance.transit_pool, cooldown=cooldown)
        self.block = port_block_pool("port-block", public_addresses(appliance), appliance.block_size, cooldown=cooldown)
        self.public = host_pool("public-address", assignable_prefixes(appliance), cooldown=cooldown)
        self.zone = number_pool("public-zone", LAST_ZONE, FIRST_ZONE, cooldown=max(cooldown, ZONE_REST))
        self.by_allocation: dict[str, Pool | TransitPool] = {
            pool.name: pool for pool in (self.isolated, self.transit, self.block, self.public, self.zone)
        }

    def addresses(self, name: str, prefix: str, used: Iterable[str], released: Iterable[tuple[str, int]]) -> Pool:
        """The machine addresses of private network `name`, given its `used` and `released` ones."""
        pool = address_pool(f"address/{name}", prefix, cooldown=self._cooldown)
        for address in used:
            pool.use(address)
        for address, released_at in released:
            pool.cool(address, released_at)
        return pool

    def __iter__(self) -> Iterator[Pool]:
        """The pools of the whole appliance."""
        numbers = (self.key, self.number, self.interconnect, self.zone)
        return iter((*numbers, self.isolated, self.private, self.block, self.public))
