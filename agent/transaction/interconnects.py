"""Operations for interconnects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container
from dataclasses import replace

from netaddr import IPNetwork, cidr_merge

from agent.cache.records import InterconnectRecord, NetworkRecord, Peerings
from agent.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Violation
from agent.requests import InterconnectSpec, InterconnectUpdate
from agent.transaction.builder import BaseTransaction, fresh
from agent.validation.interconnects import FIELD, announce_inside, link_apart, settings
from agent.validation.objects import wrong
from agent.validation.prefixes import remote_prefixes_of
from state import interconnect_rows
from state.encryption import SecretBox
from state.interconnect import MOST_INTERCONNECTS, Interconnect, InterconnectKind
from state.model import Attachment, Kind
from state.prefixes import NOT_INTERNET, appliance_prefixes, network_prefixes, own_prefixes

_FIXED = ("name", "network", "kind", "number", "slot", "client", "zone", "created_at")


class InterconnectOperations(BaseTransaction):
    """Creates, changes and deletes interconnects; `seal` answers what closes a password, when there is one.

    AS numbers are always given: who leaves ours out means the configuration's.
    """

    def create_interconnect(
        self, new: InterconnectSpec, seal: Callable[[], SecretBox]
    ) -> tuple[Interconnect, NetworkRecord | None]:
        """Plan an interconnect.

        Raises NotFound, AlreadyExists, InvalidArgument, FailedPrecondition, ResourceExhausted.
        """
        present = self._cache.interconnects
        name = new.name or fresh("interconnect", present.by_name)
        if name in present.by_name:
            raise AlreadyExists(f"interconnects/{name}", f"interconnects/{name} exists already")
        owner = present.peerings if new.kind == "PEERING" else self._private_network(new)
        # As a network's: above every revision of an earlier one of this name.
        first = Interconnect(name, InterconnectKind[new.kind], 0, _slot(owner), "", None, "", "", 0, 0)
        value = _effective(replace(first, revision=self.revision, created_at=self.now), new)
        self._admit_interconnect(value, owner)
        self._vacant(value)
        value = replace(
            value,
            number=int(self._next(self._cache.pools.interconnect)),
            password=seal().seal(new.password) if new.password else "",
        )
        self._occupy(value, owner)
        if not isinstance(owner, NetworkRecord):
            self._insert("Interconnect", interconnect_rows.interconnect_row(value, None))
            return value, None
        pools = self._cache.pools
        value = replace(value, client=int(self._next(pools.number)), zone=int(self._next(pools.zone)))
        self._change(owner)
        self._unused_by_machines(value.client)
        self._guard_pools(changed=True)
        self._insert("Interconnect", interconnect_rows.interconnect_row(value, ["uuid", owner.uuid]))
        self._allocate("public-zone", str(value.zone), owner.network)
        return value, owner

    def _private_network(self, new: InterconnectSpec) -> NetworkRecord:
        record = self._network_named(new.network.removeprefix("networks/"))
        if record.network.kind is Kind.ISOLATED:
            of = f"networks/{record.network.name}"
            raise FailedPrecondition(
                "NETWORK_ISOLATED", of, f"{of} is ISOLATED; interconnects are for PRIVATE networks"
            )
        return record

    def update_interconnect(self, name: str, change: InterconnectUpdate, seal: Callable[[], SecretBox]) -> bool:
        """Plan a change of an interconnect; False when there is none.

        Raises NotFound, AlreadyExists, InvalidArgument, FailedPrecondition.
        """
        record = self._interconnect_named(name)
        before, owner = record.interconnect, record.owner
        fields = (field.name for field in dataclasses.fields(change))
        given = {field: value for field in fields if (value := getattr(change, field)) is not None}
        asked = replace(_asked(before), **given)
        violations = [*settings(asked), *_unused_interval(change, asked)]
        if violations:
            raise InvalidArgument(violations)
        after = _effective(before, asked)
        if change.password is not None:
            after = replace(after, password=_closed(before.password, change.password, seal))
        if after == before:
            return False
        self._admit_interconnect(after, owner, before)
        self._change_interconnect(record)
        if after.where != before.where:
            self._vacant(after)
            self._unclaim("attachment", before.where)
            self._occupy(after, owner)
        # The latest of all peerings' is what the controller says it has come to: it has to be the highest.
        after = replace(after, revision=max(before.revision + 1, self.revision))
        row = interconnect_rows.interconnect_row(after, None)
        self._update("Interconnect", record.uuid, {column: row[column] for column in row if column not in _FIXED})
        return True

    def delete_interconnect(self, name: str) -> None:
        """Plan the end of an interconnect; raises NotFound."""
        record = self._interconnect_named(name)
        self._change_interconnect(record)
        self._delete("Interconnect", record.uuid)
        self._unclaim("attachment", record.interconnect.where)
        if record.interconnect.zone:
            self._release("public-zone", str(record.interconnect.zone))

    def _change_interconnect(self, record: InterconnectRecord) -> None:
        """Guard the interconnect and its network, and give that its next revision."""
        self._guard("Interconnect", record.uuid, record.interconnect.revision)
        if isinstance(record.owner, NetworkRecord):
            self._change(record.owner)

    def _occupy(self, value: Interconnect, owner: NetworkRecord | Peerings) -> None:
        """Take port and VLAN, so that of two who take them at once one is refused."""
        if isinstance(owner, NetworkRecord):
            self._allocate("attachment", value.where, owner.network)
        else:
            self._insert("Allocation", self._allocation_of("attachment", value.where, ""))

    def _vacant(self, value: Interconnect) -> None:
        """Raises AlreadyExists, naming who is there, if port and VLAN are in use."""
        present = self._cache.interconnects.by_place.get(value.where)
        user = "" if present is None else f"interconnects/{present.interconnect.name}"
        uuid, owner = self._cache.allocations.claims.get(("attachment", value.where), ("", ""))
        if not user and uuid:
            user = f"networks/{owner}"
            record = self._cache.networks.get(owner)
            machines = set() if record is None else record.attachments.get(Attachment(value.port, value.vlan), set())
            if machines:
                user = f"machines/{min(machines)}"
        if user:
            raise AlreadyExists(user, f"port and VLAN {value.where} are those of {user}")

    def _admit_interconnect(
        self, after: Interconnect, owner: NetworkRecord | Peerings, before: Interconnect | None = None
    ) -> None:
        """Check an interconnect against its network and the appliance, except what it had `before`.

        Raises InvalidArgument.
        """
        accepted: Container[str] = () if before is None else before.accept
        announced: Container[str] = () if before is None else before.announce
        appliance = self._appliance
        if isinstance(owner, NetworkRecord):
            network = owner.network
            own = [(network.prefix, f"the prefix of networks/{network.name}")]
            apart, closed = [*own, *appliance_prefixes(appliance)], [*own, *network_prefixes(appliance)]
            drives = {f"{record.drive.address}/32" for record in owner.drives.values()}
            outer = [network.prefix]
            rule = f"a prefix inside {network.prefix}, or the address of a drive of networks/{network.name} as a /32"
        else:
            apart = appliance_prefixes(appliance)
            closed = [*own_prefixes(appliance), *((never, "which is not of the Internet") for never in NOT_INTERNET)]
            drives = set()
            pools = (*appliance.nat_pool, *appliance.public_pool)
            outer = [str(prefix) for prefix in cidr_merge([IPNetwork(pool) for pool in pools])]
            rule = f"a prefix inside {' or '.join(outer)}, the pools of public addresses"
        violations: list[Violation] = []
        if before is None or before.local_address != after.local_address:
            violations += link_apart(after.local_address, apart)
        violations += remote_prefixes_of(f"{FIELD}.accept_prefixes", after.accept, closed, accepted)
        violations += announce_inside(after.announce, outer, drives, rule, announced)
        if violations:
            raise InvalidArgument(violations)

    def _interconnect_named(self, name: str) -> InterconnectRecord:
        record = self._cache.interconnects.by_name.get(name)
        if record is None:
            raise NotFound(f"interconnects/{name}", f"interconnects/{name} does not exist")
        return record


def _slot(owner: NetworkRecord | Peerings) -> int:
    """The lowest free slot among the interconnects of one owner. Raises ResourceExhausted."""
    taken = {record.interconnect.slot for record in owner.interconnects.values()}
    for slot in range(1, MOST_INTERCONNECTS + 1):
        if slot not in taken:
            return slot
    message = f"there are {len(taken)} peerings; an appliance has at most {MOST_INTERCONNECTS}"
    if isinstance(owner, NetworkRecord):
        of = f"networks/{owner.network.name}"
        message = f"{of} has {len(taken)} interconnects; a network has at most {MOST_INTERCONNECTS}"
    raise ResourceExhausted("interconnects", message, {"size": str(MOST_INTERCONNECTS)})


def _effective(before: Interconnect, asked: InterconnectSpec) -> Interconnect:
    """The interconnect that was asked for, defaults written out; what cannot be changed and the password as before."""
    standard = Interconnect("", before.kind, 0, 0, "", None, "", "", 0, 0)
    return replace(
        before,
        port=asked.port,
        vlan=asked.vlan or None,
        local_address=asked.local_address,
        peer_address=asked.peer_address,
        local_as=asked.local_as,
        peer_as=asked.peer_as,
        accept=asked.accept,
        announce=asked.announce,
        maximum_prefixes=asked.maximum_prefixes or standard.maximum_prefixes,
        preference=asked.preference or standard.preference,
        rate=asked.rate,
        bfd_milliseconds=0 if asked.disable_bfd else asked.bfd_milliseconds or standard.bfd_milliseconds,
        hold_seconds=asked.hold_seconds or standard.hold_seconds,
        enabled=not asked.disabled,
    )


def _asked(value: Interconnect) -> InterconnectSpec:
    """The request that would make the interconnect as it is, without its network and password."""
    return InterconnectSpec(
        name=value.name,
        kind=value.kind.name,
        port=value.port,
        vlan=value.vlan or 0,
        local_address=value.local_address,
        peer_address=value.peer_address,
        local_as=value.local_as,
        peer_as=value.peer_as,
        accept=value.accept,
        announce=value.announce,
        maximum_prefixes=value.maximum_prefixes,
        preference=value.preference,
        rate=value.rate,
        disable_bfd=not value.bfd_milliseconds,
        bfd_milliseconds=value.bfd_milliseconds,
        hold_seconds=value.hold_seconds,
        disabled=not value.enabled,
    )


def _unused_interval(change: InterconnectUpdate, asked: InterconnectSpec) -> list[Violation]:
    """What is wrong where a client sets an interval and leaves BFD, which is not to be used, as it is."""
    if not change.bfd_milliseconds or change.disable_bfd is not None or not asked.disable_bfd:
        return []
    allowed = "0 while disable_bfd is set; set both fields to use BFD again"
    return [wrong(f"{FIELD}.bfd_interval_milliseconds", change.bfd_milliseconds, allowed)]


def _closed(sealed: str, password: str, seal: Callable[[], SecretBox]) -> str:
    """The password sealed, as it was if it is the same; empty: none."""
    if not password:
        return ""
    closing = seal()
    return sealed if closing.holds(sealed, password) else closing.seal(password)
