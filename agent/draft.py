"""One command as the operations of one transaction: plan on the replica, change nothing.

Operations name rows by uuid only: the server finds those by hash, while any
other condition makes it look at every row of the table.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Container, Iterator
from dataclasses import replace

from agent.allocation import Pool
from agent.faults import Exhausted, InUse, Invalid, Missing, Taken
from agent.intent import Idempotency, MachineChange, NewMachine, NewNetwork, Tagged
from agent.replica import MachineRecord, NetworkRecord, Replica
from agent.validation import DEFAULT_MTU, address_in
from state import rows
from state.model import Attachment, Kind, Machine, Network, PortBlock
from state.ovsdb import Operation, Row, to_set

log = logging.getLogger("sluice.draft")

NAMED_USERS = 5


def _where(uuid: str) -> list[list[object]]:
    return [["_uuid", "==", ["uuid", uuid]]]


def attachment_of(tagged: Tagged) -> Attachment:
    """The attachment that was asked for, once validated."""
    return Attachment(tagged.port, tagged.vlan, tagged.vni)


def _fresh(what: str, present: Container[str]) -> str:
    """A name for an object whose client gave none."""
    while (name := f"{what}-{secrets.token_hex(5)}") in present:
        pass
    return name


def _clock_text(moment: int, now: int) -> str:
    return f"in {-(-(moment - now) // 1000)} s"


class Draft:
    """The plan of one command at time `now` (ms), made under the replica's lock.

    The methods raise Fault when the command cannot be done; then the draft is
    thrown away and nothing has changed.
    """

    def __init__(self, replica: Replica, now: int) -> None:
        self.operations: list[Operation] = []
        self._replica = replica
        self.now = now
        self._free: dict[Pool, Iterator[str]] = {}
        self._guarded: set[str] = set()
        self._claimed: dict[str, str] = {}
        self._names: set[str] = set()
        self._taken: dict[tuple[str, str, str], str] = {}

    def answered(self, request: Idempotency, names: list[str]) -> None:
        """Remember that `request` made `names`, in the same transaction."""
        if request.request_id:
            numbered = [f"{at:04d} {name}" for at, name in enumerate(names)]
            row = {"request_id": request.request_id, "digest": request.digest, "created_at": self.now}
            self._insert("Request", {**row, "names": to_set(numbered)})

    def create_network(self, new: NewNetwork) -> Network:
        """Plan a network; raises Taken, Exhausted."""
        name = new.name or _fresh("network", self._replica.networks)
        return self._network(name, new, implicit=False)[0]

    def _network(self, name: str, new: NewNetwork, *, implicit: bool) -> tuple[Network, list[str]]:
        if name in self._replica.networks or ("network", name, "") in self._taken:
            raise Taken(f"networks/{name}", f"networks/{name} exists already")
        pools = self._replica.pools
        isolated = new.kind == "ISOLATED"
        prefix = new.prefix or self._next(pools.isolated if isolated else pools.private)
        block_text = self._next(pools.block)
        address, _, ports = block_text.partition(":")
        first, _, last = ports.partition("-")
        network = Network(
            name=name,
            kind=Kind.ISOLATED if isolated else Kind.PRIVATE,
            tenant=new.tenant,
            key=int(self._next(pools.key)),
            prefix=prefix,
            router=rows.router_of(prefix),
            block=PortBlock(address, int(first), int(last)),
            dns_servers=new.dns_servers,
            mtu=new.mtu or DEFAULT_MTU,
            implicit=implicit,
            # Above every revision a network of this name ever had, so that what the controller
            # said of a deleted one is not taken for this one's.
            revision=self.now,
            created_at=self.now,
        )
        self._taken["network", name, ""] = name
        handle = f"n{len(self.operations)}"
        self._insert("Network", rows.network_row(network), handle)
        self._allocate("port-block", block_text, network)
        if isolated:
            self._allocate("isolated-prefix", prefix, network)
        elif not new.prefix:
            self._allocate("private-prefix", prefix, network)
        return network, ["named-uuid", handle]

    def delete_network(self, name: str) -> None:
        """Plan the end of an empty network; raises Missing, InUse."""
        record = self._network_named(name)
        if record.machines:
            users = [f"machines/{machine}" for machine in record.machines.keys()[:NAMED_USERS]]
            more = len(record.machines) - len(users)
            listed = ", ".join(users) + (f" and {more} more" if more else "")
            why = " (deleting the machine deletes this network too)" if record.network.implicit else ""
            raise InUse(f"networks/{name}", f"networks/{name} is used by {listed}{why}", users)
        self._wait(record)
        self._end(record)

    def _end(self, record: NetworkRecord) -> None:
        network = record.network
        self._delete("Network", record.uuid)
        self._release("port-block", str(network.block))
        if network.kind is Kind.ISOLATED:
            self._release("isolated-prefix", network.prefix)
        elif self._replica.claims.get(("private-prefix", network.prefix), ("", ""))[1] == network.name:
            self._unclaim("private-prefix", network.prefix)
        for uuid in self._replica.released.get(network.name, ()):
            self._delete("Allocation", uuid)

    def create_machine(self, new: NewMachine) -> tuple[Machine, Network]:
        """Plan a machine; raises Missing, Taken, InUse, Invalid, Exhausted."""
        assert new.attachment is not None
        name = new.name or _fresh("machine", self._replica.machines)
        if name in self._replica.machines or name in self._names:
            raise Taken(f"machines/{name}", f"machines/{name} exists already")
        self._names.add(name)
        record = self._network_named(new.network.removeprefix("networks/")) if new.network else None
        if record is None:
            wanted = NewNetwork(kind="ISOLATED", tenant=new.tenant)
            network, reference = self._network(name, wanted, implicit=True)
        else:
            network, reference = record.network, ["uuid", record.uuid]
            self._admit(record, name)
            self._change(record)
        mac, hostname = new.mac.lower(), new.hostname.lower() or name
        self._unique(record, network, "mac_address", mac, name)
        self._unique(record, network, "hostname", hostname, name)
        attachment = attachment_of(new.attachment)
        self._attach(record, network, attachment, name)
        address = self._address(record, network, new.address, name)
        transit = address
        if network.kind is Kind.PRIVATE:
            transit = self._next(self._replica.pools.transit.like(address))
            self._allocate("transit", transit, network)
        number = int(self._next(self._replica.pools.number))
        machine = Machine(name, number, mac, address, transit, hostname, attachment)
        self._insert("Machine", rows.machine_row(machine, reference, self.now))
        return machine, network

    def _admit(self, record: NetworkRecord, name: str) -> None:
        network = record.network
        if network.kind is not Kind.ISOLATED:
            return
        present = next(iter(record.machines), None) or self._taken.get(("seat", network.name, ""))
        if present is not None:
            user = f"machines/{present}"
            message = f"networks/{network.name} is ISOLATED, for one machine, and {user} is in it"
            raise InUse(f"networks/{network.name}", message, [user])
        self._taken["seat", network.name, ""] = name

    def _unique(self, record: NetworkRecord | None, network: Network, what: str, value: str, name: str) -> None:
        """Note that machine `name` takes `value`, unique in its network."""
        held = {}
        if record is not None:
            held = {"mac_address": record.macs, "hostname": record.hostnames, "address": record.addresses}[what]
        owner = held.get(value) or self._taken.get((what, network.name, value))
        if owner is not None and owner != name:
            raise Taken(f"machines/{owner}", f"{what} {value} is taken in networks/{network.name} by machines/{owner}")
        self._taken[what, network.name, value] = name

    def _attach(self, record: NetworkRecord | None, network: Network, attachment: Attachment, name: str) -> None:
        text = str(attachment)
        owner = self._claimed.get(text) or self._replica.claims.get(("attachment", text), ("", ""))[1]
        if owner and owner != network.name:
            raise Taken(f"networks/{owner}", f"attachment {text} belongs to networks/{owner}")
        if attachment.vlan is None and attachment.vni is None:
            present = set() if record is None else record.attachments.get(attachment, set()) - {name}
            other = next(iter(sorted(present)), None) or self._taken.get(("port", network.name, text))
            if other is not None:
                raise Taken(
                    f"machines/{other}",
                    f"attachment {text} is that of machines/{other}; machines share only a VLAN or a VNI",
                )
            self._taken["port", network.name, text] = name
        if not owner:
            self._claimed[text] = network.name
            self._allocate("attachment", text, network)

    def _detach(self, record: NetworkRecord, attachment: Attachment, name: str) -> None:
        if record.attachments.get(attachment, set()) <= {name}:
            self._unclaim("attachment", str(attachment))

    def _address(self, record: NetworkRecord | None, network: Network, asked: str, name: str) -> str:
        if asked:
            violations = list(address_in("machine.address", asked, network.prefix))
            if violations:
                raise Invalid(violations)
            self._unique(record, network, "address", asked, name)
        if network.kind is Kind.ISOLATED:
            # The only address of a /30 that is neither the network's, the router's nor the broadcast address.
            return rows.second_usable(network.prefix)
        assert record is not None
        pool = self._address_pool(record)
        if asked:
            until = pool.cooling_until(asked, self.now)
            if until is not None:
                raise InUse(
                    f"networks/{network.name}",
                    f"machine.address {asked} was released lately and is free again {_clock_text(until, self.now)}",
                )
            return asked
        while True:
            address = self._next(pool)
            if ("address", network.name, address) not in self._taken:
                self._taken["address", network.name, address] = name
                return address

    def _address_pool(self, record: NetworkRecord) -> Pool:
        if record.pool is None:
            name = record.network.name
            released = self._replica.released.get(name, {}).values()
            record.pool = self._replica.pools.addresses(name, record.network.prefix, record.addresses, released)
        return record.pool

    def update_machine(self, name: str, change: MachineChange) -> bool:
        """Plan a change of a machine; False when there is none. Raises Missing, Taken."""
        record = self._machine_named(name)
        before, network = record.machine, record.network
        after = replace(
            before,
            mac=before.mac if change.mac is None else change.mac.lower(),
            hostname=before.hostname if change.hostname is None else change.hostname.lower() or name,
            attachment=before.attachment if change.attachment is None else attachment_of(change.attachment),
        )
        if after == before:
            return False
        self._change(network)
        self._unique(network, network.network, "mac_address", after.mac, name)
        self._unique(network, network.network, "hostname", after.hostname, name)
        if after.attachment != before.attachment:
            self._detach(network, before.attachment, name)
            self._attach(network, network.network, after.attachment, name)
        row = rows.machine_row(after, ["uuid", network.uuid], record.created_at)
        mutable = {column: row[column] for column in ("mac", "hostname", "port", "vlan", "vni")}
        self.operations.append({"op": "update", "table": "Machine", "where": _where(record.uuid), "row": mutable})
        return True

    def delete_machine(self, name: str) -> None:
        """Plan the end of a machine, and of the network made with it; raises Missing."""
        record = self._machine_named(name)
        machine, network = record.machine, record.network
        if network.network.implicit:
            self._wait(network)
        else:
            self._change(network)
        self._delete("Machine", record.uuid)
        self._detach(network, machine.attachment, name)
        if network.network.kind is Kind.PRIVATE:
            self._release("transit", machine.transit)
            pool = f"address/{network.network.name}"
            row = self._allocation(pool, machine.address, network.network, record.created_at)
            self._insert("Allocation", {**row, "released_at": self.now})
        if network.network.implicit:
            self._end(network)

    def _network_named(self, name: str) -> NetworkRecord:
        record = self._replica.networks.get(name)
        if record is None:
            raise Missing(f"networks/{name}", f"networks/{name} does not exist")
        return record

    def _machine_named(self, name: str) -> MachineRecord:
        record = self._replica.machines.get(name)
        if record is None:
            raise Missing(f"machines/{name}", f"machines/{name} does not exist")
        return record

    def _next(self, pool: Pool) -> str:
        """The lowest free value of `pool` that this draft has not taken."""
        values = self._free.get(pool)
        if values is None:
            values = self._free[pool] = pool.free(self.now)
        value = next(values, None)
        if value is None:
            cooled = pool.next_cooled(self.now)
            later = "" if cooled is None else f"; the next released one is free {_clock_text(cooled, self.now)}"
            raise Exhausted(
                pool.name,
                f"pool {pool.name} is empty: none of its {pool.size} is free{later}",
                {"size": str(pool.size)},
            )
        return value

    def _wait(self, record: NetworkRecord) -> None:
        """Have the transaction refused if somebody changed the network meanwhile."""
        if record.uuid not in self._guarded:
            self._guarded.add(record.uuid)
            seen = {"revision": record.network.revision}
            self.operations.append(
                {
                    "op": "wait",
                    "table": "Network",
                    "where": _where(record.uuid),
                    "columns": ["revision"],
                    "until": "==",
                    "rows": [seen],
                    "timeout": 0,
                }
            )

    def _change(self, record: NetworkRecord) -> None:
        """Guard the network and give it its next revision, once a draft."""
        if record.uuid not in self._guarded:
            self._wait(record)
            mutations = [["revision", "+=", 1]]
            self.operations.append(
                {"op": "mutate", "table": "Network", "where": _where(record.uuid), "mutations": mutations}
            )

    def _allocation(self, pool: str, value: str, network: Network, allocated_at: int) -> Row:
        return {
            "pool": pool,
            "value": value,
            "network": network.name,
            "tenant": network.tenant,
            "prefix": network.prefix,
            "allocated_at": allocated_at,
            "released_at": 0,
        }

    def _allocate(self, pool: str, value: str, network: Network) -> None:
        self._insert("Allocation", self._allocation(pool, value, network, self.now))

    def _release(self, pool: str, value: str) -> None:
        uuid = self._claim(pool, value)
        if uuid:
            row = {"released_at": self.now}
            self.operations.append({"op": "update", "table": "Allocation", "where": _where(uuid), "row": row})

    def _unclaim(self, pool: str, value: str) -> None:
        uuid = self._claim(pool, value)
        if uuid:
            self._delete("Allocation", uuid)

    def _claim(self, pool: str, value: str) -> str:
        uuid = self._replica.claims.get((pool, value), ("", ""))[0]
        if not uuid:
            log.error("an allocation has no row in the database", extra={"pool": pool, "value": value})
        return uuid

    def _insert(self, table: str, row: Row, handle: str = "") -> None:
        named = {"uuid-name": handle} if handle else {}
        self.operations.append({"op": "insert", "table": table, "row": row, **named})

    def _delete(self, table: str, uuid: str) -> None:
        self.operations.append({"op": "delete", "table": table, "where": _where(uuid)})
