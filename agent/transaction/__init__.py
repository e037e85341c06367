"""One command as the operations of one transaction; each module plans one kind of object."""

from __future__ import annotations

from agent.transaction.builder import next_revision
from agent.transaction.drives import DriveOperations
from agent.transaction.interconnects import InterconnectOperations
from agent.transaction.machines import MachineOperations
from agent.transaction.vpn_connections import VpnConnectionOperations

__all__ = ["Draft", "next_revision"]


class TransactionBuilder(MachineOperations, DriveOperations, VpnConnectionOperations, InterconnectOperations):
    """The plan of one command, as `Transaction` says, of any kind of object."""
