"""An agent's store on a database of its own; modules that need another one have their own fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.store import Store
from tests.agents import Database, database, opened


@pytest.fixture
def server() -> Iterator[Database]:
    with database() as made:
        yield made


@pytest.fixture
def store(server: Database) -> Iterator[Store]:
    with opened(server) as made:
        yield made
