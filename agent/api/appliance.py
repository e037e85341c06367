"""ApplianceService: health of daemons and ports, and how far desired state is realised."""

from __future__ import annotations

from agent.api.calls import Context
from agent.daemon_health import Condition, Daemon, Daemons
from agent.store import Store
from sluice.v1 import appliance_pb2, appliance_pb2_grpc
from state.heartbeat import Name

_STATES = {
    Condition.RUNNING: appliance_pb2.Daemon.RUNNING,
    Condition.HINDERED: appliance_pb2.Daemon.HINDERED,
    Condition.SILENT: appliance_pb2.Daemon.SILENT,
    Condition.STOPPED: appliance_pb2.Daemon.STOPPED,
    Condition.UNUSED: appliance_pb2.Daemon.UNUSED,
}


class ApplianceService(appliance_pb2_grpc.ApplianceServiceServicer):
    """The appliance over gRPC; the contract is appliance.proto. Faults become statuses in `calls`."""

    def __init__(self, store: Store, daemons: Daemons) -> None:
        self._store, self._daemons = store, daemons

    def GetAppliance(self, request: appliance_pb2.GetApplianceRequest, context: Context) -> appliance_pb2.Appliance:
        """Which daemons and ports work, and how much of desired state the switch has."""
        # First, so that what is written meanwhile is not taken to be there.
        realization = self._store.realization()
        daemons = self._daemons.all(self._store.has_work_for)
        works = any(one.name is Name.CONTROLLER and one.condition is Condition.RUNNING for one in daemons)
        return appliance_pb2.Appliance(
            daemons=map(_daemon, daemons),
            realization=appliance_pb2.Realization(
                settled=realization.settled and works,
                desired_revision=realization.desired,
                realized_revision=realization.realized,
                pending_networks=realization.pending,
            ),
            ports=[appliance_pb2.Port(name=n, problem=problem) for n, problem in self._store.port_problems().items()],
        )


def _daemon(daemon: Daemon) -> appliance_pb2.Daemon:
    made = appliance_pb2.Daemon(
        name=daemon.name.value,
        state=_STATES[daemon.condition],
        pid=daemon.pid,
        problem=daemon.problem,
        remark=daemon.remark,
    )
    if daemon.started_at:
        made.start_time.FromMilliseconds(daemon.started_at)
        made.silence.FromMilliseconds(round(daemon.silence * 1000))
    return made
