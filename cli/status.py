"""`sluicectl status`: is everything well?"""

from __future__ import annotations

import fcntl
import json
import re
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli import creation, names, output, switch
from cli.command import command, pass_session
from cli.errors import Failure, NotPermitted, from_call
from cli.interconnect.formatting import session_word
from cli.session import CliSession, channel
from cli.vpn.connections import tunnel_word
from sluice.v1 import appliance_pb2
from state import datapath

_METRIC = re.compile(r"^(sluice_\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)
_HTTP_TIMEOUT = 3
# States that are no fault: what a datapath cannot do, what this user may not look at, what need not run, and flows
# that are not all on the switch yet.
LIMITED, NOT_PERMITTED, UNUSED, PENDING = "limited", "not permitted", "unused", "pending"
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the answer: `state` is `ok`, what is wrong, or one of the states that are no fault."""

    name: str
    state: str
    detail: str = ""


@command(epilog="Examples: sluicectl status; sluicectl status --metrics http://127.0.0.1:7401/metrics -o json")
@pass_session
def status(session: CliSession) -> None:
    """Show whether API, database, switch, daemons, next hop, tunnels and sessions are healthy; exit code 1 when not.

    What only root may look at is shown as `not permitted` to others, and does
    not count.
    """
    checks: list[Check] = []
    counts: dict[str, dict[str, int]] = {}
    checks += _api(session, counts)
    limits: list[dict[str, str]] = []
    checks += _bridge(session, limits, by_lock=all(check.name != "controller" for check in checks))
    metrics, silent = _metrics(session)
    checks += silent
    if session.json:
        answer: dict[str, Any] = {"checks": [asdict(check) for check in checks], "limitations": limits, **counts}
        if session.metrics:
            answer["metrics"] = metrics
        output.print_json(answer)
    else:
        output.print_table(("WHAT", "STATE", "DETAIL"), ((c.name, c.state, c.detail) for c in checks))
        for what, states in counts.items():
            parts = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
            click.echo(f"{what}: {parts or 'none'}")
        for name, value in metrics.items():
            click.echo(f"{name} {value:g}")
    wrong = [check.name for check in checks if check.state not in ("ok", LIMITED, NOT_PERMITTED, UNUSED, PENDING)]
    if wrong:
        raise Failure("UNHEALTHY", f"unhealthy: {', '.join(wrong)}")


def _api(session: CliSession, counts: dict[str, dict[str, int]]) -> list[Check]:
    health = health_pb2_grpc.HealthStub(channel(session.api))
    try:
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=session.timeout)
        word = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        served = Check("api", "ok" if word == "SERVING" else "failed", session.api if word == "SERVING" else word)
        networks = [creation.state_word(n.status) for n in names.NETWORKS.all(session)]
        machines = [creation.state_word(m.status) for m in names.MACHINES.all(session)]
        connections = list(names.VPN_CONNECTIONS.all(session))
        tunnels = [tunnel_word(connection.tunnel) or "pending" for connection in connections]
        joined = list(names.INTERCONNECTS.all(session))
        sessions = [session_word(interconnect.session) or "pending" for interconnect in joined]
        appliance = _appliance(session)
    except grpc.RpcError as error:
        return [Check("api", "failed", from_call(error, session.api).message)]
    counted = {"networks": networks, "machines": machines, "tunnels": tunnels, "sessions": sessions}
    counts |= {what: dict(Counter(words)) for what, words in counted.items()}
    # Lists are read from the database, so their answer is its answer too.
    database = Check("database", "ok", f"{len(networks)} networks, {len(machines)} machines")
    down = [c.name for c, word in zip(connections, tunnels, strict=True) if word == "down"]
    lost = [i.name for i, word in zip(joined, sessions, strict=True) if word in ("down", "held")]
    ends = [_ends("tunnels", down), _ends("sessions", lost)]
    flows = [_realization(appliance.realization)] if appliance.HasField("realization") else []
    daemons = map(_daemon, appliance.daemons)
    ports = [_ports(appliance.ports)] if appliance.ports else []
    return [served, database, *flows, *daemons, *ports, *(end for end in ends if end is not None)]


def _appliance(session: CliSession) -> appliance_pb2.Appliance:
    """How the appliance is; nothing where the agent is of an older version."""
    try:
        return session.appliance.GetAppliance(appliance_pb2.GetApplianceRequest(), timeout=session.timeout)
    except grpc.RpcError as error:
        if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return appliance_pb2.Appliance()
        raise


def _realization(told: appliance_pb2.Realization) -> Check:
    if told.settled:
        return Check("desired state", "ok", f"settled, revision {told.desired_revision}")
    waiting = f"{told.pending_networks} networks pending, " if told.pending_networks else ""
    return Check("desired state", PENDING, f"{waiting}revision {told.realized_revision} of {told.desired_revision}")


def _ports(ports: Sequence[appliance_pb2.Port]) -> Check:
    problems = [port.problem for port in ports if port.problem]
    if problems:
        return Check("ports", "down", "; ".join(problems))
    return Check("ports", "ok", ", ".join(port.name for port in ports))


def _daemon(daemon: appliance_pb2.Daemon) -> Check:
    state = appliance_pb2.Daemon.State.Name(daemon.state).lower()
    if state == UNUSED:
        return Check(daemon.name, UNUSED, "nothing for it to do")
    if not daemon.pid:
        return Check(daemon.name, state, "it is not running; traffic goes on by the flows there are")
    since = max(0, round(time.time() - daemon.start_time.seconds))
    said = f"process {daemon.pid}, for {since} s"
    if state == "silent":
        said += f"; nothing heard from it for {daemon.silence.seconds} s"
    for more in (daemon.problem, daemon.remark):
        said += f"; {more}" if more else ""
    return Check(daemon.name, "ok" if state == "running" else state, said)


def _ends(what: str, broken: list[str]) -> Check | None:
    if not broken:
        return None
    shown = ", ".join(map(names.short, broken[:_MOST_NAMED])) + (", ..." if len(broken) > _MOST_NAMED else "")
    return Check(what, "down", f"{len(broken)}: {shown}")


def _bridge(session: CliSession, limits: list[dict[str, str]], *, by_lock: bool) -> list[Check]:
    found = [_check("switch", lambda: _switch(session))]
    answers = found[0].state != "failed"
    for name, look in (("datapath", lambda: _datapath(session, limits)), ("next hop", lambda: _next_hop(session))):
        found.append(_check(name, look) if answers else Check(name, "unknown", "the switch does not answer"))
    return [*found, *([_controller(session)] if by_lock else [])]


def _check(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except NotPermitted as failure:
        return Check(name, NOT_PERMITTED, failure.message)
    except Failure as failure:
        return Check(name, "failed", failure.message)


def _switch(session: CliSession) -> Check:
    version, flows = switch.version(session), switch.flow_count(session)
    return Check("switch", "ok", f"Open vSwitch {version}, {flows} flows")


def _datapath(session: CliSession, limits: list[dict[str, str]]) -> Check:
    (bridge,) = switch.rows(session, "Bridge", "datapath_type", name=session.bridge)
    datapath_type = str(bridge["datapath_type"] or datapath.SYSTEM)
    lacking = datapath.missing(switch.capabilities(session, datapath_type))
    limits += [{"capability": one.capability, "meaning": one.meaning} for one in lacking]
    limits += [
        {"capability": "", "meaning": remark} for remark in datapath.remarks(datapath_type, switch.version(session))
    ]
    said = "; ".join(
        [f"{datapath_type}, at most {switch.max_meters(session):,} meters", *(o["meaning"] for o in limits)]
    )
    if any(one.essential for one in lacking):
        return Check("datapath", "failed", said)
    return Check("datapath", LIMITED if lacking else "ok", said)


def _controller(session: CliSession) -> Check:
    # Where the API does not say. Held by the controller's process and written by it (controller.instance_lock): Open
    # vSwitch does not know.
    path = session.rundir / f"{session.bridge}.sluice.lock"
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                state = json.loads(file.read())
            else:
                return Check("controller", "stopped", "it is not running; traffic goes on by the flows there are")
    except FileNotFoundError:
        return Check("controller", "missing", "it has never run for this bridge")
    except PermissionError:
        return Check("controller", NOT_PERMITTED, f"{path} is root's and its group's")
    except (OSError, ValueError) as error:
        return Check("controller", "unknown", f"{path}: {error}")
    word = "ok" if state["connected"] else "disconnected"
    return Check("controller", word, f"process {state['pid']}, for {round(time.time() - state['since'])} s")


def _next_hop(session: CliSession) -> Check:
    mac = switch.next_hop_mac(session)
    return Check("next hop", "ok" if mac else "unknown", mac or "no ARP answer from it yet, or no gateway port")


def _metrics(session: CliSession) -> tuple[dict[str, float], list[Check]]:
    found: dict[str, float] = {}
    silent = []
    for url in session.metrics:
        try:
            with urllib.request.urlopen(url, timeout=_HTTP_TIMEOUT) as answer:
                text = answer.read().decode()
        except (OSError, ValueError, urllib.error.URLError) as error:
            silent.append(Check("metrics", "failed", f"{url}: {error}"))
            continue
        found |= {name: float(value) for name, value in _METRIC.findall(text) if not _is_detail(name)}
    return found, silent


def _is_detail(name: str) -> bool:
    plain = name.partition("{")[0]
    return plain.endswith(("_bucket", "_created"))
