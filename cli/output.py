"""Tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sluice.v1 import status_pb2

Listed = TypeVar("Listed", bound=Message)

_STATE_STYLES = {"live": "green", "pending": "yellow", "error": "red", "SERVING": "green", "NOT_SERVING": "red",
                 "ok": "green", "warning": "yellow"}  # fmt: skip
# Lines are as long as they must be, so that nothing is cut and every row stays one line.
_ENDLESS = 10_000


def to_json(message: Message) -> dict[str, Any]:
    """A message as JSON: every field, by its proto JSON name (`macAddress`)."""
    return MessageToDict(message, always_print_fields_with_no_presence=True)


def moment(stamp: Timestamp) -> str:
    """RFC 3339 in UTC; empty when it is not set."""
    return stamp.ToJsonString() if stamp.ByteSize() else ""


def print_json(value: Any, *, one_line: bool = False) -> None:
    """Write `value` as JSON; on one line where more will follow."""
    click.echo(json.dumps(value, indent=None if one_line else 2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "") -> None:
    """Write rows under `columns`; without rows write `empty` to stderr.

    A column whose name starts with `>` is aligned to the right.
    """
    cells = [list(row) for row in rows]
    if not cells:
        click.echo(empty, err=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    for row in cells:
        table.add_row(*(_cell(value) for value in row))
    _print(table)


def print_list(
    objects: Iterable[Listed],
    columns: Sequence[str],
    row: Callable[[Listed], Sequence[object]],
    empty: str,
    *,
    as_json: bool,
) -> None:
    """Write messages as a JSON array, or as a table of their rows."""
    if as_json:
        print_json([to_json(message) for message in objects])
    else:
        print_table(columns, map(row, objects), empty)


def print_one(
    message: Listed, columns: Sequence[str], row: Callable[[Listed], Sequence[object]], *, as_json: bool
) -> None:
    """Write a message as JSON, or the fields of its row under the names of the columns."""
    if as_json:
        print_json(to_json(message))
    else:
        print_fields(zip(map(str.lower, columns), row(message), strict=True))


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Write one object as lines of name and value; empty values are left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields:
        if value not in ("", None):
            table.add_row(name, _cell(value))
    _print(table)


def _cell(value: object) -> Text:
    text = "" if value is None else str(value)
    return Text(text, style=_STATE_STYLES.get(text, ""))


def _print(table: Table) -> None:
    screen = Console(file=sys.stdout, width=_ENDLESS, highlight=False)
    with screen.capture() as capture:
        screen.print(table)
    for line in capture.get().splitlines():
        click.echo(line.rstrip())


def print_event(event: Any, of: str, row: Callable[[Any], Sequence[object]], *, as_json: bool) -> None:
    """Write one event of a watch on one line; `of` is the field that has its object."""
    if as_json:
        print_json(to_json(event), one_line=True)
    elif event.type == status_pb2.SYNCED:
        click.echo("-- everything that existed is above; changes follow")
    else:
        change = status_pb2.ChangeType.Name(event.type).lower()
        click.echo("  ".join(str(part) for part in (f"{change:<8}", *row(getattr(event, of))) if part != ""))
