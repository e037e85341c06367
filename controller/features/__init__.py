"""The features of the pipeline, one a file: intent in, flows out, nothing else.

A feature is a module-level object with a `feature` number, the `tables` it may
write to, `shared` flows of the appliance and `flows` of one network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import CONTROLLER, Action, Flow, Meter, Output
from controller.pipeline.match import Match
from controller.pipeline.registry import APPLIANCE_KEY, Feature, MeterClass, Table, meter
from state.model import Network


class FeatureFlows(Protocol):
    """What a feature's file provides."""

    feature: Feature
    tables: frozenset[Table]

    def shared(self, site: PipelineContext) -> Iterator[Flow]:
        """Flows that serve every network."""
        ...

    def flows(self, network: Network, site: PipelineContext) -> Iterator[Flow]:
        """Flows of one network; every machine's port is on the bridge."""
        ...


def flow(
    feature: Feature,
    table: Table,
    priority: int,
    match: Match,
    actions: tuple[Action, ...],
    why: str,
    key: int = APPLIANCE_KEY,
) -> Flow:
    """One flow; without actions it drops and `why` is the reason counted."""
    return Flow(table, priority, match, actions, feature, key, why)


def to_controller(key: int) -> tuple[Action, ...]:
    """Have the controller see a packet of network `key`, at the rate of the network's ICMP errors."""
    return Meter(meter(MeterClass.NETWORK_ERRORS, key)), Output(CONTROLLER)
