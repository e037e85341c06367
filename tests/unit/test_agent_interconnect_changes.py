"""Changes of interconnects over gRPC: what can be changed, what is no change, and what is refused."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask

from agent.store import Store
from sluice.v1 import drive_pb2 as drives
from sluice.v1 import interconnect_pb2 as interconnects
from sluice.v1 import machine_pb2 as machines
from tests.agents import Api, Database, machine, refusal
from tests.interconnect_calls import BgpDaemon, changed, create, direct, get, peering, update

Interconnect = interconnects.Interconnect


def revision(store: Store, name: str = "office") -> int:
    return store.cache.networks[name].network.revision


def drive(name: str, address: str, of: str = "office") -> drives.CreateDriveRequest:
    return drives.CreateDriveRequest(drive_id=name, drive=drives.Drive(network=f"networks/{of}", address=address))


def on(port: str, vlan: int | None = None) -> machines.Attachment:
    return machines.Attachment(port=port) if vlan is None else machines.Attachment(port=port, vlan=vlan)


def test_changes(bgp_api: Api, store: Store, bgp: BgpDaemon) -> None:
    create(bgp_api, direct("dc"))
    before, own = revision(store), bgp.revision("dc")
    made = update(bgp_api, "dc", preference=200, disabled=True)
    assert (made.preference, made.disabled) == (200, True)
    assert (revision(store), bgp.revision("dc") > own) == (before + 1, True)
    assert not update(bgp_api, "dc", "disabled").disabled
    assert update(bgp_api, "dc", "preference", "hold_seconds", hold_seconds=30).preference == 100
    made = update(bgp_api, "dc", "port", "vlan", port="xc2")
    assert (made.port, made.vlan) == ("xc2", 0)
    create(bgp_api, direct("b"))
    made = update(bgp_api, "dc", local_as=65010, accept_prefixes=["172.16.0.0/12", "192.168.0.0/16"])
    assert (made.local_as, made.accept_prefixes) == (65010, ["172.16.0.0/12", "192.168.0.0/16"])
    assert update(bgp_api, "dc", "local_as").local_as == 64512
    made = update(bgp_api, "dc", local_address="169.254.7.9/29", peer_address="169.254.7.10")
    assert (made.local_address, made.peer_address) == ("169.254.7.9/29", "169.254.7.10")
    made = update(bgp_api, "dc", disable_bfd=True, bfd_interval_milliseconds=100)
    assert (made.disable_bfd, made.bfd_interval_milliseconds) == (True, 0)
    assert update(bgp_api, "dc", "disable_bfd").bfd_interval_milliseconds == 100
    made = update(bgp_api, "dc", "*", port="xc1", vlan=9, local_address="169.254.7.9/29", peer_address="169.254.7.10",
                  peer_as=65001, accept_prefixes=["192.168.0.0/16"])  # fmt: skip
    assert (made.vlan, made.hold_seconds, made.network) == (9, 9, "networks/office")


def test_a_change_of_a_peering_is_its_own(bgp_api: Api, store: Store, bgp: BgpDaemon) -> None:
    create(bgp_api, peering("ix"))
    before, own = [record.network.revision for record in store.cache.networks.values()], bgp.revision("ix")
    assert update(bgp_api, "ix", vlan=7).vlan == 7
    assert bgp.revision("ix") > own
    assert [record.network.revision for record in store.cache.networks.values()] == before
    create(bgp_api, peering("b"))


def test_what_was_read_is_written_back_whole_and_keeps_its_password(bgp_api: Api) -> None:
    create(bgp_api, direct("dc", password="of-the-session"))
    read = get(bgp_api, "dc")
    everything = FieldMask(paths=["*"])
    request = interconnects.UpdateInterconnectRequest(interconnect=read, update_mask=everything)
    assert bgp_api.interconnects.UpdateInterconnect(request).has_password
    # It is taken away by its name.
    request = interconnects.UpdateInterconnectRequest(interconnect=read, update_mask=FieldMask(paths=["password"]))
    assert not bgp_api.interconnects.UpdateInterconnect(request).has_password


def test_no_difference_is_no_change(bgp_api: Api, store: Store, bgp: BgpDaemon) -> None:
    create(bgp_api, direct("dc", disable_bfd=True, rate_kbps=5000))
    create(bgp_api, peering("ix"))
    before = revision(store), bgp.revision("dc"), bgp.revision("ix")
    for name in ("dc", "ix"):
        read = get(bgp_api, name)
        written = bgp_api.interconnects.UpdateInterconnect(interconnects.UpdateInterconnectRequest(interconnect=read))
        assert written == read
    assert update(bgp_api, "dc", "preference", "hold_seconds", "password") == get(bgp_api, "dc")
    assert (revision(store), bgp.revision("dc"), bgp.revision("ix")) == before


def test_changes_that_are_refused(bgp_api: Api, server: Database) -> None:
    create(bgp_api, direct("dc", disable_bfd=True))
    create(bgp_api, peering("ix"))
    bgp_api.machines.CreateMachine(machine("pc", "office", 2, attachment=on("trunk", 7)))
    before = server.dump()
    for request, expected, said in (
        (changed("dc", network="networks/lab"), "INVALID_ARGUMENT", "networks/office; it cannot be changed"),
        (changed("dc", kind=Interconnect.PEERING), "INVALID_ARGUMENT", "DIRECT_CONNECT; it cannot be changed"),
        (changed("ix", network="networks/lab"), "INVALID_ARGUMENT", "allowed: empty; it cannot be changed"),
        (changed("dc", "network"), "INVALID_ARGUMENT", "update_mask is 'network'"),
        (changed("dc", "has_password"), "INVALID_ARGUMENT", "update_mask is 'has_password'"),
        (changed("dc", "port", "vlan", port="ix1"), "ALREADY_EXISTS", "ix1 are those of interconnects/ix"),
        (changed("dc", port="trunk", vlan=7), "ALREADY_EXISTS", "trunk/vlan=7 are those of machines/pc"),
        (changed("ix", port="xc1", vlan=101), "ALREADY_EXISTS", "are those of interconnects/dc"),
        (changed("dc", "accept_prefixes"), "INVALID_ARGUMENT", "accept_prefixes is []; allowed: 1 to 64"),
        (changed("dc", accept_prefixes=["10.0.0.0/17"]), "INVALID_ARGUMENT", "the prefix of networks/office"),
        (changed("ix", accept_prefixes=["8.8.8.0/25"]), "INVALID_ARGUMENT", "of 8 to 24 bits"),
        (changed("dc", announce_prefixes=["10.9.0.0/16"]), "INVALID_ARGUMENT", "inside 10.0.0.0/16"),
        (changed("dc", peer_address="169.254.101.3"), "INVALID_ARGUMENT", "interconnect.peer_address is"),
        (changed("dc", peer_as=64512), "INVALID_ARGUMENT", "other than local_as"),
        (changed("dc", local_as=65001), "INVALID_ARGUMENT", "other than local_as"),
        (changed("dc", bfd_interval_milliseconds=200), "INVALID_ARGUMENT", "0 while disable_bfd is set"),
        (changed("dc", rate_kbps=-1), "INVALID_ARGUMENT", "interconnect.rate_kbps is -1"),
    ):
        code, message, _ = refusal(bgp_api.interconnects.UpdateInterconnect, request)
        assert (code, said in message) == (expected, True), message
    assert server.dump() == before


def test_a_drive_that_is_announced_may_go(bgp_api: Api) -> None:
    bgp_api.drives.CreateDrive(drive("d", "10.250.0.9"))
    create(bgp_api, direct("dc", announce_prefixes=["10.250.0.9/32"]))
    bgp_api.drives.DeleteDrive(drives.DeleteDriveRequest(name="drives/d"))
    made = update(bgp_api, "dc", preference=7)
    assert (made.preference, made.announce_prefixes) == (7, ["10.250.0.9/32"])
    update(bgp_api, "dc", "announce_prefixes")
    assert refusal(bgp_api.interconnects.UpdateInterconnect, changed("dc", announce_prefixes=["10.250.0.9/32"]))[0] == (
        "INVALID_ARGUMENT"
    )
