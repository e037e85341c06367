"""One command as the operations of one transaction; each module plans one kind of object."""

from __future__ import annotations

from agent.draft.drives import DrivePlans
from agent.draft.interconnects import InterconnectPlans
from agent.draft.machines import MachinePlans
from agent.draft.transaction import next_revision
from agent.draft.vpn_connections import VpnConnectionPlans

__all__ = ["Draft", "next_revision"]


class Draft(MachinePlans, DrivePlans, VpnConnectionPlans, InterconnectPlans):
    """The plan of one command, as `Transaction` says, of any kind of object."""
