"""One lab for all tests of the BGP daemon; each module begins without interconnects."""

from __future__ import annotations

from collections.abc import Iterator

import bgp_lab
import pytest
from bgp_lab import Lab


@pytest.fixture(scope="session")
def running() -> Iterator[Lab]:
    """A lab whose daemon runs."""
    with bgp_lab.lab() as made:
        yield made


@pytest.fixture
def lab(running: Lab) -> Iterator[Lab]:
    """The lab, without interconnects before and after."""
    yield running
    running.clear()
