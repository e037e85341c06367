"""Registers of the pipeline."""

from __future__ import annotations

from controller.pipeline.match import Field as F

ATTACHMENT = F.REG2
"""Register that holds the attachment, counted within its network from 1, a packet came by."""

SCRATCH = F.REG0
"""Register used within one flow only."""

TOO_LARGE = F.REG1
"""Register whose bit 0 says that a packet is larger than the way out can carry."""

MARK = F.REG3
"""Register that holds a `Mark`."""

SENDER = F.REG4
"""Register that holds the number of the machine that sends from an additional address; else 0."""

HOLDER = F.REG5
"""Register that holds the number of an additional address, and once it is looked up that of the machine that holds
it, with `VIRTUAL_MAC` where it does so with a virtual MAC."""

VIRTUAL_MAC = 1 << 16
"""Bit of `HOLDER`: above every number of a machine."""
