"""Generated pages are as the code says, and pages lead only to what exists."""

from __future__ import annotations

import importlib.util
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.config import parse
from controller.pipeline.registry import Table

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted((*ROOT.glob("*.md"), *DOCS.glob("*.md")))


@pytest.fixture
def generator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The generator of a page, loaded from docs/."""
    spec = importlib.util.spec_from_file_location(request.param, DOCS / f"{request.param}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up while it is made.
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("generator", ["generate_pipeline", "generate_api"], indirect=True)
def test_generated_pages_are_up_to_date(generator: Any) -> None:
    name = generator.PAGE.name
    assert generator.PAGE.read_text() == generator.page(), f"docs/{name} is stale: `make golden` writes it anew"


@pytest.mark.parametrize("generator", ["generate_api"], indirect=True)
def test_everything_of_the_api_has_a_comment(generator: Any) -> None:
    lines = generator.page().splitlines()
    bare = [line for line in lines if re.match(r"^\| `.*\|\s*\|$", line)]
    bare += [above for above, below in pairwise(lines) if above.startswith("**") and not below]
    assert not bare


@pytest.mark.parametrize("generator", ["generate_pipeline"], indirect=True)
def test_the_pipeline_page_shows_every_table_with_its_flows(generator: Any) -> None:
    parts = re.split(r"^## \d+ · (\S+)$", generator.page(), flags=re.MULTILINE)
    shown = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert sorted(shown) == sorted(table.title for table in Table)
    for title in (table.title for table in Table if not table.learned):
        assert f"table={title}," in shown[title], f"no golden flow of {title}"


@pytest.mark.parametrize("generator", ["generate_pipeline"], indirect=True)
def test_every_table_is_in_one_stage_of_the_picture(generator: Any) -> None:
    shown = [table.name for ways in generator.STAGES.values() for way in ways for table in way]
    assert sorted(shown) == sorted(table.name for table in Table)


def _documented_settings() -> dict[tuple[str, str], str]:
    rows = re.findall(r"^\| `\[(\w+)\] (\w+)` \| (.*?) \|", (DOCS / "configuration.md").read_text(), re.MULTILINE)
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
LISTS = {"isolated", "private", "public", "transit", "prefixes", "dns_servers", "upstream"}


def test_the_documented_defaults_are_those_of_the_code() -> None:
    documented = _documented_settings()
    assert {setting for setting, default in documented.items() if default == "required"} == set(REQUIRED)
    given = {}
    for (section, name), default in documented.items():
        if default == "required":
            continue
        value = default if default.isdigit() else '""' if default == "none" else f'"{default}"'
        if name in LISTS:
            value = "[]" if default == "none" else f"[{value}]"
        given[section, name] = value
    assert parse(_toml(REQUIRED | given)) == parse(_toml(REQUIRED))


def test_the_example_configuration_has_every_documented_setting() -> None:
    found, section = set(), ""
    for line in (ROOT / "deploy" / "sluice.toml").read_text().splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
        elif setting := re.match(r"(?:# )?(\w+) = ", line):
            found.add((section, setting[1]))
    assert found == set(_documented_settings())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_jq_is_given_the_journal_line_by_line(page: Path) -> None:
    # systemd writes lines of its own into a unit's journal, which are not JSON.
    printed = [line for line in page.read_text().splitlines() if "journalctl" in line and "| jq" in line]
    assert [line for line in printed if "| jq -R 'fromjson?" not in line] == []


def _anchor(heading: str) -> str:
    """The anchor of a heading as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _text(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def _broken(page: Path, text: str) -> list[str]:
    """Links in `text` of a page whose page or heading does not exist."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        headings = re.findall(r"^#+ (.*)$", _text(target), re.MULTILINE) if anchor and target.is_file() else []
        if not target.exists() or (anchor and anchor not in map(_anchor, headings)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_pages_and_headings_that_exist(page: Path) -> None:
    assert _broken(page, _text(page)) == []


def test_a_broken_link_is_seen() -> None:
    text = "[a](docs/none.md) [b](docs/operator.md#none) [c](docs/operator.md#backup) [d](https://example.org/none)"
    assert _broken(ROOT / "README.md", text) == ["docs/none.md", "docs/operator.md#none"]


def test_every_page_is_reached_from_the_readme() -> None:
    found, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page not in found:
            found.add(page)
            links = re.findall(r"\]\(([^)#\s]+\.md)", _text(page))
            todo += [(page.parent / link).resolve() for link in links if "://" not in link]
    assert set(PAGES) <= found
