"""Files of Sluice: space for them, and who may read them."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from agent.config import Config
from cli.doctor.finding import Finding, error, ok, warning

STATE = Path("/var/lib/sluice")
RUN = Path("/run/sluice")
GROUP = "sluice"
_MIB = 1 << 20
LOW_SPACE, NO_SPACE = 1024 * _MIB, 128 * _MIB
LOW_INODES, NO_INODES = 10_000, 500


@dataclass(frozen=True, slots=True)
class Space:
    """What is free on the file system of a directory: bytes, and inodes (None: it has no fixed number)."""

    path: str
    bytes: int
    inodes: int | None


@dataclass(frozen=True, slots=True)
class Rule:
    """What a file may be: `mode` holds the permissions it may have at most, `group` who else may own it than root."""

    path: Path
    mode: int
    group: str = "root"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that exists with owner, group and permissions."""

    rule: Rule
    owner: str
    group: str
    mode: int


def rules(config: Config) -> tuple[Rule, ...]:
    """Files of this configuration that are not everybody's."""
    sockets = [Path(one.removeprefix("unix:")) for one in config.api.listen if one.startswith("unix:")]
    return (
        Rule(STATE, 0o750, GROUP),
        Rule(STATE / "sluice.db", 0o600, GROUP),
        Rule(Path(config.vpn_key), 0o600, GROUP),
        Rule(RUN, 0o750, GROUP),
        Rule(Path(config.database), 0o700, GROUP),
        *(Rule(path, 0o770, GROUP) for path in sockets),
    )


def gather(config: Config) -> tuple[Space, tuple[Entry, ...]]:
    """Space for desired state, and those files of `rules` that exist."""
    there = next(path for path in (STATE, *STATE.parents) if path.exists())
    found = os.statvfs(there)
    space = Space(str(STATE), found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)
    return space, tuple(entry for rule in rules(config) if (entry := _entry(rule)) is not None)


def _entry(rule: Rule) -> Entry | None:
    try:
        found = rule.path.stat()
    except OSError:
        return None
    return Entry(rule, _user(found.st_uid), _group(found.st_gid), stat.S_IMODE(found.st_mode))


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def judge(space: Space, entries: tuple[Entry, ...]) -> list[Finding]:
    """Space first, then every file whose owner or mode is too wide."""
    found = [_space(space)]
    wrong = [finding for entry in entries for finding in _wrong(entry)]
    return [*found, *(wrong or [ok("file modes", f"{len(entries)} files and sockets are root's and their group's")])]


def _space(space: Space) -> Finding:
    free = f"{space.bytes // _MIB:,} MiB free"
    inodes = "" if space.inodes is None else f", {space.inodes:,} inodes free"
    check, advice = f"disk of {space.path}", "make room: without it no change of desired state is stored"
    if space.bytes < NO_SPACE or (space.inodes is not None and space.inodes < NO_INODES):
        return error(check, free + inodes, advice)
    if space.bytes < LOW_SPACE or (space.inodes is not None and space.inodes < LOW_INODES):
        return warning(check, free + inodes, advice)
    return ok(check, free + inodes)


def _wrong(entry: Entry) -> list[Finding]:
    rule, found = entry.rule, []
    if entry.owner != "root" or entry.group not in ("root", rule.group):
        what = f"belongs to {entry.owner}:{entry.group}"
        found.append(error(f"file {rule.path}", what, f"chown root:{rule.group} {rule.path}"))
    if entry.mode & ~rule.mode:
        what = f"has mode {entry.mode:04o}: others may use it"
        found.append(error(f"file {rule.path}", what, f"chmod {rule.mode:04o} {rule.path}"))
    return found


def judge_group(exists: bool) -> list[Finding]:
    """The group whose members may use the API."""
    if exists:
        return [ok("group", f"{GROUP} exists")]
    return [error("group", f"no group {GROUP}: no unit starts", "systemd-sysusers")]


def group_exists() -> bool:
    """Whether the host has the group of Sluice."""
    try:
        grp.getgrnam(GROUP)
    except KeyError:
        return False
    return True
