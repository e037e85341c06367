"""Files of machines for a batch create: JSON as `machines list -o json` writes it, or CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from google.protobuf.json_format import ParseDict, ParseError

from cli import names
from cli.errors import Failure, FieldError
from cli.mac import colons
from sluice.v1 import machine_pb2

STDIN = "<stdin>"
Placed = tuple[machine_pb2.CreateMachineRequest, str]
COLUMNS = ("name", "network", "mac_address", "address", "hostname", "port", "vlan", "vni", "tenant",
           "public_address")  # fmt: skip


# Where the API names one of the requests: `requests[3].machine.mac_address`, `requests[3]: ...`.
_REQUEST = re.compile(r"requests\[(\d+)\](?:\.machine)?\.?(?::\s)?")


@dataclass(frozen=True, slots=True)
class Batch:
    """The requests in a file, and where each is in it: `hosts.csv, line 3`."""

    path: str
    requests: tuple[machine_pb2.CreateMachineRequest, ...]
    places: tuple[str, ...]

    def explain(self, failure: Failure) -> Failure:
        """A refusal in the words of the file."""
        violations = tuple(
            FieldError(self._placed(one.subject), self._placed(one.description)) for one in failure.violations
        )
        return Failure(failure.code, self._placed(failure.message), violations, failure.left_out)

    def _placed(self, text: str) -> str:
        text = text.replace("requests holds", f"{self.path} holds")
        return _REQUEST.sub(lambda found: f"{self.places[int(found[1])]}: ", text)


def read(path: str, text: str) -> Batch:
    """The requests in `text`, the contents of `path`: CSV where its name ends so, or it looks so, else JSON.

    JSON is a list of machines with their proto JSON names; CSV has a header
    line of `COLUMNS` in any order. Raises click.UsageError with the place.
    """
    # Standard input has no name: JSON is a list.
    table = not text.lstrip().startswith("[") if path == STDIN else Path(path).suffix == ".csv"
    found = _read_csv(path, text) if table else _read_json(path, text)
    return Batch(path, tuple(request for request, _ in found), tuple(place for _, place in found))


def _request(machine: machine_pb2.Machine) -> machine_pb2.CreateMachineRequest:
    identifier = names.short(machine.name)
    machine.ClearField("name")
    machine.ClearField("status")
    machine.ClearField("create_time")
    machine.ClearField("dns_name")
    machine.network = names.NETWORKS.full(machine.network)
    machine.public_address = names.PUBLIC_ADDRESSES.full(machine.public_address)
    return machine_pb2.CreateMachineRequest(machine_id=identifier, machine=machine)


def _read_json(path: str, text: str) -> list[Placed]:
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise click.UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(items, list):
        raise click.UsageError(f"{path} holds no list of machines")
    requests = []
    for number, item in enumerate(items, 1):
        place = f"{path}, machine {number}"
        try:
            requests.append((_request(ParseDict(item, machine_pb2.Machine())), place))
        except (ParseError, AttributeError, TypeError) as error:
            raise click.UsageError(f"{place}: {error}") from error
    return requests


def _read_csv(path: str, text: str) -> list[Placed]:
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    if not reader.fieldnames:
        raise click.UsageError(f"{path} is empty; its first line names columns: {', '.join(COLUMNS)}")
    # As the option is called.
    reader.fieldnames = ["mac_address" if name == "mac" else name for name in reader.fieldnames]
    unknown = sorted(set(reader.fieldnames) - set(COLUMNS))
    if unknown:
        raise click.UsageError(f"{path}: unknown columns {', '.join(unknown)}; known are {', '.join(COLUMNS)}")
    requests = []
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        if None in row:
            raise click.UsageError(f"{place}: {len(row[None])} more cells than the first line has columns")
        try:
            requests.append((_request(_from_row(row)), place))
        except (ValueError, TypeError) as error:
            raise click.UsageError(f"{place}: {error}") from error
    return requests


def _from_row(row: Mapping[str, Any]) -> machine_pb2.Machine:
    cells = {column: (row.get(column) or "").strip() for column in COLUMNS}
    return machine_pb2.Machine(
        name=cells["name"],
        network=cells["network"],
        mac_address=colons(cells["mac_address"]),
        address=cells["address"],
        hostname=cells["hostname"],
        attachment=attachment(cells["port"], _tag(cells, "vlan"), _tag(cells, "vni")),
        tenant=cells["tenant"],
        public_address=cells["public_address"],
    )


def _tag(cells: Mapping[str, str], column: str) -> int | None:
    text = cells[column]
    if not text:
        return None
    if not text.isdigit():
        raise ValueError(f"{column} is {text!r}; allowed: a whole number, or empty")
    return int(text)


def attachment(port: str, vlan: int | None, vni: int | None) -> machine_pb2.Attachment:
    """An attachment; raises ValueError when it has two tags."""
    if vlan is not None and vni is not None:
        raise ValueError("an attachment has a VLAN or a VNI, not both")
    if vlan is not None:
        return machine_pb2.Attachment(port=port, vlan=vlan)
    if vni is not None:
        return machine_pb2.Attachment(port=port, vni=vni)
    return machine_pb2.Attachment(port=port)
