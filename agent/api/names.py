"""Converts resource names of requests to identifiers."""

from __future__ import annotations

from agent.errors import InvalidArgument
from agent.validation.objects import resource_name


def identifier(field: str, name: str, collection: str) -> str:
    """The identifier of `COLLECTION/IDENTIFIER`. Raises InvalidArgument."""
    violations = list(resource_name(field, name, collection))
    if violations:
        raise InvalidArgument(violations)
    return name.partition("/")[2]


def optional_identifier(field: str, name: str, collection: str) -> str:
    """As `identifier`; empty stays empty."""
    return identifier(field, name, collection) if name else ""
