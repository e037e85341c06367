"""Output of the host's own tools, for facts."""

from __future__ import annotations

import json
import subprocess
from typing import Any

_SECONDS = 15


def output_of(*command: str) -> str | None:
    """What a command prints; None when it is missing, fails or takes longer than 15 s."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def json_of(*command: str) -> list[Any]:
    """The JSON array that a command prints; empty where `output_of` is None or not JSON."""
    try:
        found = json.loads(output_of(*command) or "[]")
    except ValueError:
        return []
    return found if isinstance(found, list) else []
