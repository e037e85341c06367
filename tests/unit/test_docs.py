"""Generated pages are as the code says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from controller.pipeline import Table

DOCS = Path(__file__).parent.parent.parent / "docs"


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
