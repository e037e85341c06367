"""The key that secrets of desired state are encrypted with."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from agent.errors import FailedPrecondition
from agent.store.desired_state import DesiredState
from state.encryption import EncryptionError, SecretBox


class EncryptedStore(DesiredState):
    """Desired state with secrets in it."""

    @cached_property
    def seal(self) -> SecretBox:
        """What secrets are sealed with; the key is made when first needed. Raises FailedPrecondition."""
        try:
            return SecretBox.at(Path(self.config.vpn_key))
        except EncryptionError as error:
            message = f"secrets cannot be sealed with the key of this appliance ([vpn] key): {error}"
            raise FailedPrecondition("NO_SEALING_KEY", "appliance", message) from error
