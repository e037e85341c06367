"""Golden files: the flows of every feature, as text to be read in a review.

`make golden` writes them anew; what changed is then in the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import examples
import pytest

from controller.pipeline.registry import Feature, Table
from controller.reconcile.compile import FEATURES, compile_network, compile_shared

HERE = Path(__file__).parent
_GROUPS = {Table.REMOTE_ROUTE: Feature.REMOTE, Table.GATEWAY_OUT: Feature.PEERING}


def golden(feature: Feature) -> str:
    """What one feature writes for the appliance and the example networks."""
    parts = [(f"the appliance (key {0:#x})", compile_shared(examples.SITE))]
    parts += [
        (f"{n.kind.value} network {n.name} (key {n.key:#x})", compile_network(n, examples.SITE))
        for n in examples.ALL_NETWORKS
    ]
    lines = []
    for title, compiled in parts:
        flows = [flow for flow in compiled.flows.values() if flow.feature is feature]
        groups = {n: group for n, group in compiled.groups.items() if _GROUPS[group.table] is feature}
        if flows or groups:
            lines += [f"## {title}"]
        for number, group in sorted(groups.items()):
            lines += [f"# {group.why}", group.text(number, names=True)]
        for flow in sorted(flows, key=lambda f: (f.table.number, -f.priority, str(f.match))):
            lines += [f"# {flow.why}", flow.text(names=True)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("feature", [module.feature for module in FEATURES], ids=lambda f: f.label)
def test_flows_are_as_reviewed(feature: Feature) -> None:
    path = HERE / f"{feature.label}.txt"
    text = golden(feature)
    if os.environ.get("SLUICE_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs: `make golden` writes it anew, then review the diff"


def test_no_golden_file_without_a_feature() -> None:
    assert {path.stem for path in HERE.glob("*.txt")} == {module.feature.label for module in FEATURES}
