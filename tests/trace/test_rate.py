"""Which meters a packet passes: the machine's, then its network's, only with the Internet and each once."""

from __future__ import annotations

import examples
import pytest
from tracer import INTERNET, Out, Tracer, echo, ip, out_of, outside, reply

from controller.pipeline.meters import Unit
from controller.pipeline.registry import MeterClass, Table, meter
from controller.reconcile.compile import compile_network
from state.model import Kind, Machine, Network
from state.storage import client_address

MACHINES = [(network, machine) for network in examples.NETWORKS for machine in network.machines]
EACH = pytest.mark.parametrize(("network", "machine"), MACHINES, ids=lambda value: value.name)


def limits(network: Network, of_machine: MeterClass, machine: Machine, of_network: MeterClass) -> tuple[int, ...]:
    """The machine's meter, and the network's where it has more than one machine."""
    own = (meter(of_machine, machine.number),)
    return own if network.kind is Kind.ISOLATED else (*own, meter(of_network, network.key))


def rates(meters: tuple[int, ...], network: Network) -> tuple[int, ...]:
    """Those of `meters` that limit a bandwidth."""
    known = compile_network(network, examples.SITE).meters
    return tuple(one for one in meters if known[one].unit is Unit.KBPS)


@EACH
@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp"])
def test_out(tracer: Tracer, network: Network, machine: Machine, kind: str) -> None:
    verdict = tracer.trace(ip(machine, INTERNET, kind=kind))
    assert verdict.output == (Out("uplink"),)
    expected = limits(network, MeterClass.MACHINE_PUBLIC_OUT, machine, MeterClass.NETWORK_PUBLIC_OUT)
    assert rates(verdict.meters, network) == expected


@EACH
@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp"])
def test_in(tracer: Tracer, network: Network, machine: Machine, kind: str) -> None:
    verdict = tracer.trace(reply(machine, kind=kind))
    assert verdict.output == out_of(machine)
    expected = limits(network, MeterClass.MACHINE_PUBLIC_IN, machine, MeterClass.NETWORK_PUBLIC_IN)
    assert rates(verdict.meters, network) == expected


@EACH
def test_fragments_are_metered_like_whole_packets(tracer: Tracer, network: Network, machine: Machine) -> None:
    whole = tracer.trace(ip(machine, INTERNET)).meters
    own = meter(MeterClass.NETWORK_FRAGMENTS, network.key)
    assert tracer.trace(ip(machine, INTERNET, more="nw_frag=later")).meters == (*whole, own)


@pytest.mark.parametrize("network", [examples.OFFICE, examples.SHOP], ids=lambda n: n.name)
def test_neighbours_have_no_limit_and_are_counted_once(tracer: Tracer, network: Network) -> None:
    sender, receiver = network.machines[0], network.machines[-1]
    for mac in (examples.APPLIANCE.router_mac, receiver.mac):
        verdict = tracer.trace(echo(sender, receiver.address, mac))
        counts = (MeterClass.MACHINE_PRIVATE_IN, receiver), (MeterClass.MACHINE_PRIVATE_OUT, sender)
        assert verdict.output == out_of(receiver)
        assert verdict.meters == tuple(meter(kind, machine.number) for kind, machine in counts)


@EACH
def test_the_router_and_what_is_unroutable_use_up_no_limit(tracer: Tracer, network: Network, machine: Machine) -> None:
    for target in (network.router, "192.168.7.7"):
        assert rates(tracer.trace(echo(machine, target)).meters, network) == ()


@EACH
def test_nobody_uses_up_the_limit_of_a_machine_from_outside(tracer: Tracer, network: Network, machine: Machine) -> None:
    """What conntrack does not know ends before."""
    verdict = tracer.trace(outside(machine.transit, more="ct_state=trk|new"))
    assert (verdict.tables[-1], verdict.meters) == (Table.GATEWAY_TRACK, ())


DRIVES = [(network, machine) for network, machine in MACHINES if network.drives]


@pytest.mark.parametrize(("network", "machine"), DRIVES, ids=lambda value: value.name)
def test_drives_have_limits_of_their_own(tracer: Tracer, network: Network, machine: Machine) -> None:
    storage, drive = examples.APPLIANCE.storage, network.drives[0]
    assert storage is not None
    verdict = tracer.trace(ip(machine, drive.address, kind="tcp"))
    assert verdict.output == (Out("storage"),)
    expected = limits(network, MeterClass.MACHINE_STORAGE_OUT, machine, MeterClass.NETWORK_STORAGE_OUT)
    assert rates(verdict.meters, network) == expected
    answer = (
        f"in_port={examples.SITE.ports['storage']},dl_src={examples.SITE.neighbors[drive.address]},"
        f"dl_dst={storage.mac},tcp,nw_src={drive.address},nw_dst={client_address(storage, machine.number)},nw_ttl=64"
    )
    verdict = tracer.trace(answer)
    assert verdict.output == out_of(machine)
    of_machine, of_network = MeterClass.MACHINE_STORAGE_IN, MeterClass.NETWORK_STORAGE_IN
    # The drive's flow has the network's meter: a drive takes at most four flows.
    assert rates(verdict.meters, network) == limits(network, of_machine, machine, of_network)[::-1]
