"""Refusals of a file of machines name its lines, not the API's requests."""

from __future__ import annotations

import pytest

from cli import import_file
from cli.errors import Failure, FieldError
from cli.mac import colons

CSV = "name,mac_address,port\na,02:00:00:00:00:01,p1\nb,bad,p2\n"
JSON = '[{"name": "a"}, {"name": "b", "macAddress": "bad"}]'


@pytest.mark.parametrize(
    ("path", "text", "place"), [("m.csv", CSV, "m.csv, line 3"), ("m.json", JSON, "m.json, machine 2")]
)
def test_a_refused_machine_has_its_place(path: str, text: str, place: str) -> None:
    said = "requests[1].machine.mac_address is 'bad'; allowed: six bytes"
    told = import_file.read(path, text).explain(
        Failure("INVALID_ARGUMENT", said, (FieldError("requests[1].machine.mac_address", said),), 3)
    )
    assert told.message == f"{place}: mac_address is 'bad'; allowed: six bytes"
    assert told.violations == (FieldError(f"{place}: mac_address", told.message),)
    assert told.left_out == 3


def test_a_fault_of_one_machine_and_of_the_whole_file() -> None:
    read = import_file.read("m.csv", CSV)
    taken = Failure("ALREADY_EXISTS", "requests[0]: machines/a exists")
    assert read.explain(taken).message == "m.csv, line 2: machines/a exists"
    many = Failure("INVALID_ARGUMENT", "requests holds 1500; allowed: 1 to 1000")
    assert read.explain(many).message == "m.csv holds 1500; allowed: 1 to 1000"


def test_what_is_said_once_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    said = "machine.address 10.0.0.2 was released lately and is free again at 14:00"
    Failure(
        "FAILED_PRECONDITION",
        said,
        (
            FieldError("machines", said),
            FieldError("networks/a", said),
        )
        * 2,
    ).show()
    assert capsys.readouterr().err == f"error: {said} (FAILED_PRECONDITION)\n  networks/a\n"


@pytest.mark.parametrize("text", ["02-00-00-00-CC-02", "0200.0000.cc02", "02000000CC02", "02:00:00:00:cc:02"])
def test_macs_of_every_vendor(text: str) -> None:
    assert colons(text) == "02:00:00:00:cc:02"
    (request,) = import_file.read("m.csv", f"name,mac,port\na,{text},p1\n").requests
    assert request.machine.mac_address == "02:00:00:00:cc:02"


@pytest.mark.parametrize("text", ["", "02:00:00:00:cc", "gg:00:00:00:00:00", "02:00:00:00:cc:02:01"])
def test_what_is_no_mac_is_for_the_api_to_refuse(text: str) -> None:
    assert colons(text) == text


@pytest.mark.parametrize("text", [CSV.replace("bad", "02-00-00-00-00-02"), f" {JSON}"])
def test_standard_input_may_be_either(text: str) -> None:
    assert [one.machine_id for one in import_file.read("<stdin>", text).requests] == ["a", "b"]
