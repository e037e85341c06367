"""What packet tests gave, by module, datapath and release; the table of docs/appliance.md."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from images import CACHE

FILE = CACHE / "packets.json"
BEGIN, END = "<!-- table -->", "<!-- /table -->"


@dataclass(slots=True)
class Outcome:
    """Tests of one module by what became of them, how long they took, and the end of what failures said."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    failures: str = ""

    @property
    def passed(self) -> bool:
        """Whether none failed."""
        return not self.failures

    @property
    def cell(self) -> str:
        """As the table has it."""
        return ", ".join(f"{number} {what}" for what, number in self.counts.items()) + f" ({self.seconds:.0f} s)"


def outcomes(report: str, folder: str) -> dict[str, Outcome]:
    """Outcomes by FOLDER/MODULE of a report that pytest wrote (`--junitxml`). Raises ParseError."""
    found: dict[str, Outcome] = {}
    for case in ElementTree.fromstring(report).iter("testcase"):
        # A class of tests comes after its module.
        name = next(part for part in case.get("classname", "").split(".") if part.startswith("test_"))
        module = f"{folder}/{name}"
        one = found.setdefault(module, Outcome())
        failures = [part for kind in ("failure", "error") for part in case.findall(kind)]
        one.counts["failed" if failures else "skipped" if case.find("skipped") is not None else "passed"] += 1
        one.seconds += float(case.get("time", "0"))
        one.failures += "".join(f"{case.get('name')}\n{(part.text or '')[-3000:]}\n" for part in failures)
    return found


def record(datapath: str, release: str, found: Mapping[str, Outcome]) -> None:
    """Keep outcomes for the table."""
    results = json.loads(FILE.read_text()) if FILE.exists() else {}
    for module, outcome in found.items():
        results.setdefault(module, {})[f"{datapath} {release}"] = outcome.cell
    FILE.write_text(json.dumps(results, indent=1, sort_keys=True))


def write_table(page: Path) -> None:
    """Put the table of all results so far between its two marks in a page."""
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{table(json.loads(FILE.read_text()))}{END}{after}")


def table(results: Mapping[str, Mapping[str, str]]) -> str:
    """A Markdown table: a row a module, a column each datapath and release."""
    columns = sorted({column for row in results.values() for column in row})
    lines = [f"| module | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for module, row in sorted(results.items()):
        lines.append(f"| {module} | {' | '.join(row.get(column, '') for column in columns)} |")
    return "\n".join(lines) + "\n"
