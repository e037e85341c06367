"""Files, classes, tables and import directions that pages for developers name are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from controller.pipeline.registry import Table
from tests.unit.test_imports import MAY_IMPORT, sources

ROOT = Path(__file__).parents[2]
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
PAGES = [ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "docs/glossary.md")]
# What `make deb` makes, and the switch's own database.
ELSEWHERE = {"build/", "Open_vSwitch"}


def _quoted(text: str) -> set[str]:
    """What stands between backticks."""
    return set(re.findall(r"`([^`\n]+)`", text)) - ELSEWHERE


def _section(title: str) -> str:
    """The text of ARCHITECTURE.md below a heading."""
    return ARCHITECTURE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _schema_tables() -> set[str]:
    return set(json.loads((ROOT / "state" / "sluice.ovsschema").read_text())["tables"])


def _missing_files(text: str) -> list[str]:
    """Files and folders of the repository that are named and do not exist; capitals stand for any name."""
    named = {name for name in _quoted(text) if re.fullmatch(r"[a-z_][a-z0-9_/.*-]*/([a-z0-9_*-]+\.[a-z]+)?", name)}
    return sorted(name for name in named if not any(ROOT.glob(name)))


def _missing_classes(text: str) -> list[str]:
    """Classes, services and tables of the database that are named and do not exist."""
    code = [path.read_text() for path in (*sources().values(), *(ROOT / "proto").rglob("*.proto"))]
    defined = {name for one in code for name in re.findall(r"^(?:class|message|service) (\w+)", one, re.MULTILINE)}
    named = {name for name in _quoted(text) if re.fullmatch(r"[A-Z]\w*[a-z]\w*(\.\w+)?", name)}
    return sorted(name for name in named if name.partition(".")[0] not in defined | _schema_tables())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_classes_exist(page: Path) -> None:
    assert _missing_files(page.read_text()) == []
    assert _missing_classes(page.read_text()) == []


def test_what_does_not_exist_is_seen() -> None:
    text = "`agent/main.py` `agent/none.py` `none/` `agent/*.py` `Store` `Stores` `Network_Status` `Network_None`"
    assert _missing_files(text) == ["agent/none.py", "none/"]
    assert _missing_classes(text) == ["Network_None", "Stores"]


def test_import_directions_are_those_of_the_test() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]*) \|", _section("Who may import whom"), re.MULTILINE)
    assert {module: tuple(re.findall(r"`([\w.]+)`", allowed)) for module, allowed in rows} == MAY_IMPORT


def test_every_table_of_the_database_has_a_writer() -> None:
    first_column = re.findall(r"^\| ([^|]+) \|", _section("Databases"), re.MULTILINE)
    assert {name for cell in first_column for name in _quoted(cell)} == _schema_tables()


def test_a_packet_meets_tables_of_the_pipeline() -> None:
    names = {name for name in _quoted(_section("Life of a packet")) if re.fullmatch(r"[a-z-]+", name)}
    assert names <= {table.title for table in Table}
