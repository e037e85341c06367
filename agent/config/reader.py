"""Reads single settings of a parsed file, and collects every mistake."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, Protocol

from agent.validation.interconnects import AS_RULE, is_as
from agent.validation.objects import is_mac, is_port_name
from state.addresses import is_address

MAX_BLOCK_SIZE = 32768


class Take(Protocol):
    """Reads one setting."""

    def __call__(self, section: str, key: str, default: Any, check: Callable[[Any], str | None]) -> Any: ...


class Reader:
    """Takes known keys out of the parsed file, noting each mistake."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.problems: list[str] = []
        self._read: dict[str, set[str]] = {}

    def take(self, section: str, key: str, default: Any, check: Callable[[Any], str | None]) -> Any:
        """The value of `section.key` or `default`; `check` answers what is allowed, None when it is right."""
        self._read.setdefault(section, set()).add(key)
        table = self._document.get(section, {})
        if not isinstance(table, dict) or key not in table:
            if default is None:
                self.problems.append(f"{section}.{key} is missing")
            return default
        allowed = check(table[key])
        if allowed is not None:
            self.problems.append(f"{section}.{key} is {table[key]!r}; allowed: {allowed}")
            return default
        return table[key]

    def unknown(self) -> None:
        """Note every section and key that nothing asked for."""
        for section, table in self._document.items():
            known = self._read.get(section)
            if known is None or not isinstance(table, dict):
                self.problems.append(f"[{section}] is not a section; sections: {', '.join(self._read)}")
                continue
            for key in table.keys() - known:
                self.problems.append(f"{section}.{key} is not a setting; settings: {', '.join(sorted(known))}")


def some_text(value: Any) -> str | None:
    """A text that is not empty."""
    return None if isinstance(value, str) and value else "a text that is not empty"


def whole(low: int, high: int) -> Callable[[Any], str | None]:
    """A whole number within limits."""

    def check(value: Any) -> str | None:
        right = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if right else f"a whole number from {low} to {high}"

    return check


def as_number(value: Any) -> str | None:
    """An AS number that a BGP speaker can have."""
    right = isinstance(value, int) and not isinstance(value, bool) and is_as(value)
    return None if right else f"a whole number, {AS_RULE}"


def one_of(*choices: str) -> Callable[[Any], str | None]:
    """One of a few texts."""
    return lambda value: None if value in choices else " or ".join(choices)


def that(right: Callable[[str], bool], allowed: str) -> Callable[[Any], str | None]:
    """A text that is `right`; `allowed` says which."""
    return lambda value: None if isinstance(value, str) and right(value) else allowed


def list_of(right: Callable[[str], bool], allowed: str, least: int = 0) -> Callable[[Any], str | None]:
    """A list of texts that are all `right`, at least so many."""

    def check(value: Any) -> str | None:
        fine = isinstance(value, list) and len(value) >= least and all(isinstance(v, str) and right(v) for v in value)
        return None if fine else f"a list of {allowed}" + (f", at least {least}" if least else "")

    return check


def is_prefix(longest: int = 32) -> Callable[[str], bool]:
    """Whether a text is a prefix without host bits, of at most `longest` bits."""

    def check(value: str) -> bool:
        try:
            prefix = ipaddress.IPv4Network(value)
        except ValueError:
            return False
        return str(prefix) == value and prefix.prefixlen <= longest

    return check


def is_address_or_prefix(value: str) -> bool:
    """Whether `value` is an address or a prefix."""
    return is_address(value) or is_prefix()(value)


def is_interface(value: str) -> bool:
    """Whether `value` is ADDRESS/LENGTH of a host."""
    try:
        interface = ipaddress.IPv4Interface(value)
    except ValueError:
        return False
    return "/" in value and interface.ip not in (interface.network.network_address, interface.network.broadcast_address)


def is_absolute(value: str) -> bool:
    """Whether `value` is an absolute path of a file."""
    return PurePosixPath(value).is_absolute() and not value.endswith("/") and "\0" not in value


def is_endpoint(value: str) -> bool:
    """Whether `value` is HOST:PORT or unix:PATH."""
    if value.startswith("unix:"):
        return len(value) > len("unix:")
    host, _, port = value.rpartition(":")
    return bool(host) and port.isdigit() and int(port) < 65536


PORT_NAME_RULE = "1 to 15 of A-Z, a-z, 0-9, '_', '.' and '-'"
PORT_NAME = that(is_port_name, PORT_NAME_RULE)
LOWER_MAC = that(lambda v: is_mac(v) and v == v.lower(), "a unicast MAC address in lower case, 02:00:00:00:ff:02")


def is_block_size(value: Any) -> str | None:
    """A size of port blocks."""
    right = isinstance(value, int) and 64 <= value <= MAX_BLOCK_SIZE and value & (value - 1) == 0
    return None if right else f"a power of two from 64 to {MAX_BLOCK_SIZE}"
