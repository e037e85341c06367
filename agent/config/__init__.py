"""The agent's configuration: TOML text → frozen values, every mistake reported at once."""

from __future__ import annotations

import tomllib
from pathlib import Path

from agent.config import sections
from agent.config.contradictions import contradictions
from agent.config.reader import Reader, as_number, is_absolute, one_of, some_text, that, whole
from agent.config.values import (
    BGP_AS,
    HISTORY_DAYS,
    REUSE_AFTER_SECONDS,
    VPN_KEY,
    ApiSettings,
    BridgeSettings,
    Config,
    ConfigError,
    ConntrackSettings,
    Limits,
    own_macs,
)
from state.model import Appliance, Gateway
from state.ovsdb import SOCKET

__all__ = [
    "ApiSettings",
    "BridgeSettings",
    "Config",
    "ConfigError",
    "ConntrackSettings",
    "Limits",
    "load",
    "own_macs",
    "parse",
]


def load(path: str) -> Config:
    """Read the configuration file at `path`. Raises ConfigError."""
    try:
        return parse(Path(path).read_text())
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error


def parse(text: str) -> Config:
    """A configuration from TOML `text`. Raises ConfigError naming every mistake."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"not TOML: {error}"]) from error
    reader = Reader(document)
    take = reader.take
    gateway, pools, storage = sections.gateway(take), sections.pools(take), sections.storage(take)
    api, bridge, conntrack = sections.api(take), sections.bridge(take), sections.conntrack(take)
    behaviour = sections.behaviour(take, bridge.datapath_type)
    limits = Limits(
        watches=take("limits", "watches", Limits().watches, whole(1, 1024)),
        waiting_calls=take("limits", "waiting_calls", Limits().waiting_calls, whole(1, 1024)),
    )
    others = {
        "database": take("database", "path", SOCKET, some_text),
        "reuse_after_seconds": take("pools", "reuse_after_seconds", REUSE_AFTER_SECONDS, whole(0, 86400 * 30)),
        "history_days": take("pools", "history_days", HISTORY_DAYS, whole(0, 3650)),
        "vpn_key": take("vpn", "key", VPN_KEY, that(is_absolute, "an absolute path of a file")),
        "bgp_as": take("bgp", "as", BGP_AS, as_number),
        "log_level": take("log", "level", "info", one_of("debug", "info", "warning", "error")),
    }
    reader.unknown()
    if reader.problems:
        raise ConfigError(reader.problems)
    appliance = Appliance(gateway=Gateway(**gateway), storage=storage, **pools, **behaviour)
    problems = [*contradictions(appliance, bridge.name)]
    if problems:
        raise ConfigError(problems)
    return Config(appliance=appliance, api=api, bridge=bridge, conntrack=conntrack, limits=limits, **others)
