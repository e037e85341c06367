"""State file of an interconnect's FRR for the next process, where FRR cannot write."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bgp.configuration import Configuration, Line
from bgp.hold_down import HoldDown, holds


class FrrStateFile:
    """Kept in a file, which may not exist yet."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.told: Configuration | None = None
        self.holds = HoldDown()
        self._revision = 0
        self._written = ""

    def read(self) -> bool:
        """Remember what was kept; False when it cannot be told what FRR was told."""
        try:
            kept: dict[str, Any] = json.loads(self._file.read_text())
            self.holds, self._revision = holds(kept["holds"]), int(kept["revision"])
            lines = tuple(Line(**{**line, "context": tuple(line["context"])}) for line in kept["lines"])
            self.told = Configuration(kept["identity"], lines)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.told = None
        return self.told is not None

    def holds_of(self, revision: int) -> HoldDown:
        """The holds of the interconnect's revision; none of another one."""
        before, self._revision = self._revision, revision
        return self.holds if before in (0, revision) else HoldDown()

    def forget(self) -> None:
        """What FRR was told is not known any more; also not by the next process. Raises OSError."""
        self.told = None
        self._written = ""
        self._file.unlink(missing_ok=True)

    def keep(self) -> None:
        """Write it down, once it is known what FRR was told. Raises OSError."""
        if self.told is None:
            return
        text = json.dumps({"identity": self.told.identity, "lines": [asdict(line) for line in self.told.lines],
                           "holds": self.holds.kept(), "revision": self._revision})  # fmt: skip
        if text != self._written:
            unfinished = self._file.with_suffix(".new")
            unfinished.touch(mode=0o600)
            unfinished.write_text(text)
            unfinished.replace(self._file)
            self._written = text
