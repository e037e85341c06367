"""Generated pages are as the code says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from agent.config import parse
from controller.pipeline import Table

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"


def test_the_pipeline_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("generate_pipeline", DOCS / "generate_pipeline.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    # dataclasses look their module up while it is made.
    monkeypatch.setitem(sys.modules, spec.name, generator)
    spec.loader.exec_module(generator)
    text = (DOCS / "pipeline.md").read_text()
    assert text == generator.page(), "docs/pipeline.md is stale: `docs/generate_pipeline.py` writes it anew"
    titles = re.findall(r"^## \d+ · (\S+)$", text, re.MULTILINE)
    assert sorted(titles) == sorted(table.title for table in Table)


def _documented_settings() -> dict[tuple[str, str], str]:
    rows = re.findall(r"^\| `\[(\w+)\] (\w+)` \| (.*?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    return {(section, name): default.strip("`") for section, name, default in rows}


def _toml(settings: dict[tuple[str, str], str]) -> str:
    lines: dict[str, list[str]] = {}
    for (section, name), value in settings.items():
        lines.setdefault(section, []).append(f"{name} = {value}")
    return "\n".join("\n".join([f"[{section}]", *found]) for section, found in lines.items())


REQUIRED = {
    ("gateway", "port"): '"eno1"',
    ("gateway", "address"): '"203.0.113.2/24"',
    ("gateway", "next_hop"): '"203.0.113.1"',
    ("pools", "nat"): '["203.0.113.64/28"]',
}
LISTS = {"isolated", "private", "transit", "prefixes", "dns_servers"}


def test_the_defaults_of_the_readme_are_those_of_the_code() -> None:
    documented = _documented_settings()
    assert {setting for setting, default in documented.items() if default == "required"} == set(REQUIRED)
    given = {}
    for (section, name), default in documented.items():
        if default == "required":
            continue
        value = default if default.isdigit() else f'"{default}"'
        if name in LISTS:
            value = "[]" if default == "none" else f"[{value}]"
        given[section, name] = value
    assert parse(_toml(REQUIRED | given)) == parse(_toml(REQUIRED))


def test_the_readme_has_every_setting_of_the_example() -> None:
    found, section = set(), ""
    for line in (ROOT / "deploy" / "sluice.toml").read_text().splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
        elif setting := re.match(r"(?:# )?(\w+) = ", line):
            found.add((section, setting[1]))
    assert found == set(_documented_settings())
