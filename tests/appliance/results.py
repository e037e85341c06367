"""What packet tests gave, by module, datapath and release; the table of docs/appliance.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

from images import CACHE

FILE = CACHE / "packets.json"
BEGIN, END = "<!-- table -->", "<!-- /table -->"


def record(datapath: str, release: str, module: str, closing: str) -> None:
    """Keep the closing line of pytest for one module."""
    results = json.loads(FILE.read_text()) if FILE.exists() else {}
    results.setdefault(module, {})[f"{datapath} {release}"] = closing.strip("= ")
    FILE.write_text(json.dumps(results, indent=1, sort_keys=True))


def write_table(page: Path) -> None:
    """Put the table of all results so far between its two marks in a page."""
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{table(json.loads(FILE.read_text()))}{END}{after}")


def table(results: dict[str, dict[str, str]]) -> str:
    """A Markdown table: a row a module, a column each datapath and release."""
    columns = sorted({column for row in results.values() for column in row})
    lines = [f"| module | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for module, row in sorted(results.items()):
        lines.append(f"| {module} | {' | '.join(_cell(row.get(column, '')) for column in columns)} |")
    return "\n".join(lines) + "\n"


def _cell(closing: str) -> str:
    counts = re.findall(r"(\d+) (passed|failed|skipped|error)", closing)
    seconds = re.search(r"in ([\d.]+)s", closing)
    return ", ".join(f"{number} {what}" for number, what in counts) + (
        f" ({float(seconds[1]):.0f} s)" if seconds else ""
    )
