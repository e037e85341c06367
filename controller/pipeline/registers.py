"""The registers that tables hand on what they found by; `pipeline` has them all."""

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
