"""Who asks: machines by the address they are seen as."""

from __future__ import annotations

from dataclasses import replace

import examples

from resolver.directory import Directory
from state.resolver import seen_as, stand_in

APPLIANCE = examples.APPLIANCE
OFFICE, SHOP, WEB = examples.OFFICE, examples.SHOP, examples.ISOLATED


def directory() -> Directory:
    made = Directory()
    made.replace(APPLIANCE, examples.NETWORKS)
    return made


def test_each_machine_is_known_by_its_own_address() -> None:
    one = directory()
    for network in examples.NETWORKS:
        for machine in network.machines:
            client = one.find(seen_as(machine.transit, stand_in(APPLIANCE)))
            assert client is not None
            assert (client.machine, client.view.network) == (machine.number, network)


def test_who_asks_from_an_additional_address_is_known_by_that() -> None:
    one, cluster = directory(), examples.CLUSTER
    one.update({cluster.key: cluster})
    for address in cluster.additional:
        client = one.find(seen_as(address.transit, stand_in(APPLIANCE)))
        assert client is not None
        assert (client.machine, client.view.network) == (address.number, cluster)
    one.update({cluster.key: replace(cluster, additional=())})
    assert one.find(seen_as(cluster.additional[0].transit, stand_in(APPLIANCE))) is None


def test_nobody_else_is_known() -> None:
    one = directory()
    for address in ("10.0.0.2", "10.0.0.1", "172.16.0.5", "198.51.100.1", "0.0.0.0"):
        assert one.find(address) is None


def test_a_transit_address_that_linux_refuses_is_known_as_its_stand_in() -> None:
    machine = replace(OFFICE.machines[0], transit="225.1.2.3")
    one = directory()
    one.update({OFFICE.key: replace(OFFICE, machines=(machine,))})
    client = one.find("17.1.2.3")
    assert client is not None
    assert client.machine == machine.number
    assert one.find("225.1.2.3") is None
    assert one.find(OFFICE.machines[0].transit) is None


def test_changes() -> None:
    one = directory()
    address = WEB.machines[0].transit
    before = one.find(address)
    assert before is not None
    one.update({WEB.key: replace(WEB, revision=9)})
    after = one.find(address)
    assert after is not None
    assert after.view is not before.view
    one.update({WEB.key: None})
    assert one.find(address) is None
    assert one.find(OFFICE.machines[0].transit) is not None


def test_an_address_that_moves_to_another_network_in_either_order() -> None:
    machine = OFFICE.machines[0]
    emptied, gained = replace(OFFICE, machines=()), replace(WEB, machines=(machine,))
    for changes in (
        [{OFFICE.key: emptied, WEB.key: gained}], [{WEB.key: gained, OFFICE.key: emptied}],
        [{WEB.key: gained}, {OFFICE.key: emptied}], [{OFFICE.key: emptied}, {WEB.key: gained}],
    ):  # fmt: skip
        one = directory()
        for change in changes:
            one.update(change)
        client = one.find(machine.transit)
        assert client is not None
        assert client.view.network.key == WEB.key


def test_without_settings_nobody_is_known() -> None:
    one = Directory()
    one.update({WEB.key: WEB})
    assert one.find(WEB.machines[0].transit) is None
    one.replace(None, examples.NETWORKS)
    assert one.find(WEB.machines[0].transit) is None
    one.replace(APPLIANCE, examples.NETWORKS)
    assert one.find(WEB.machines[0].transit) is not None
