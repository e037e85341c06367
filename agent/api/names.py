"""Resource names of requests → identifiers."""

from __future__ import annotations

from agent.faults import Invalid
from agent.validation import resource_name


def identifier(field: str, name: str, collection: str) -> str:
    """The identifier of `COLLECTION/IDENTIFIER`. Raises Invalid."""
    violations = list(resource_name(field, name, collection))
    if violations:
        raise Invalid(violations)
    return name.partition("/")[2]


def optional_identifier(field: str, name: str, collection: str) -> str:
    """As `identifier`; empty stays empty."""
    return identifier(field, name, collection) if name else ""
