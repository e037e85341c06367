"""The key that secrets of desired state are sealed with."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from agent.faults import Unsuitable
from agent.sealing import Seal, SealError
from agent.store.desired_state import DesiredState


class Sealed(DesiredState):
    """Desired state with secrets in it."""

    @cached_property
    def seal(self) -> Seal:
        """What secrets are sealed with; the key is made when first needed. Raises Unsuitable."""
        try:
            return Seal.at(Path(self.config.vpn_key))
        except SealError as error:
            message = f"secrets cannot be sealed with the key of this appliance ([vpn] key): {error}"
            raise Unsuitable("NO_SEALING_KEY", "appliance", message) from error
