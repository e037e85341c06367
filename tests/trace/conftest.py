"""One switch with the flows of all examples serves every trace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tracer import Tracer
from tracer import tracer as started


@pytest.fixture(scope="session")
def tracer() -> Iterator[Tracer]:
    with started() as found:
        yield found
