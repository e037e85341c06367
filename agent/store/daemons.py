"""Tells which daemons have work."""

from __future__ import annotations

from agent.store.desired_state import DesiredState
from state.heartbeat import Name


class Work(DesiredState):
    """What desired state asks of daemons."""

    def has_work_for(self, name: Name) -> bool:
        """Whether a daemon must run."""
        match name:
            case Name.CONTROLLER:
                return True
            case Name.RESOLVER:
                return bool(self.config.appliance.resolver_port)
            case Name.VPN:
                return bool(self.cache.vpn.gateways)
            case Name.BGP:
                return bool(self.cache.interconnects.by_name)
