"""The configuration file: readable, and right by the agent's own reader."""

from __future__ import annotations

from agent.config import Config, ConfigError, load
from cli.doctor.finding import Finding, error, ok

CHECK = "configuration"


def gather(path: str) -> tuple[Config | None, tuple[str, ...]]:
    """The configuration, or every mistake in it."""
    try:
        return load(path), ()
    except ConfigError as failure:
        return None, tuple(failure.problems)


def judge(path: str, mistakes: tuple[str, ...]) -> list[Finding]:
    """One finding a mistake."""
    if not mistakes:
        return [ok(CHECK, path)]
    return [error(CHECK, mistake, f"edit {path}, then: sluice-agent --config {path} --check") for mistake in mistakes]
