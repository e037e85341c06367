"""The limits of userspace conntrack: set once for each process of the switch, from a socket that answers as its own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.host.userspace_tables import DATAPATH, MAX_FRAGMENTS, ControlError, UserspaceTables, call

Answer = Callable[[str, list[str]], tuple[object, object]]


@contextmanager
def control_socket(path: Path, answer: Answer) -> Iterator[list[tuple[str, list[str]]]]:
    """A control socket like ovs-vswitchd's: `answer` gives result and error of each command; yields those asked."""
    asked: list[tuple[str, list[str]]] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    request = json.loads(connection.recv(65536))
                    asked.append((request["method"], request["params"]))
                    result, error = answer(request["method"], request["params"])
                    text = json.dumps({"id": request["id"], "result": result, "error": error})
                    # In two parts, as a long answer comes.
                    connection.sendall(text[:5].encode())
                    connection.sendall(text[5:].encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    path.unlink()


def process(rundir: Path, pid: int) -> Path:
    """The control socket's path of a process that has just started."""
    (rundir / "ovs-vswitchd.pid").write_text(f"{pid}\n")
    return rundir / f"ovs-vswitchd.{pid}.ctl"


def of_switch(limit: int) -> Answer:
    """A switch that has `limit` and takes another."""
    return lambda method, _: (f"{limit}\n" if "get" in method else "setting maxconns successful", None)


def test_each_process_gets_the_limit_once(tmp_path: Path) -> None:
    worker = UserspaceTables(tmp_path)
    for pid in (7, 8):
        with control_socket(process(tmp_path, pid), of_switch(3_000_000)) as asked:
            assert worker.apply(1000) == worker.apply(1000) == ""
            assert asked == [
                ("dpctl/ct-get-maxconns", [DATAPATH]),
                ("dpctl/ct-set-maxconns", [DATAPATH, "1000"]),
                ("dpctl/ipf-set-max-nfrags", [DATAPATH, str(MAX_FRAGMENTS)]),
            ]
            assert worker.apply(2000) == ""
            assert ("dpctl/ct-set-maxconns", [DATAPATH, "2000"]) in asked


def test_a_switch_that_has_the_limit_is_left_alone(tmp_path: Path) -> None:
    with control_socket(process(tmp_path, 7), of_switch(1000)) as asked:
        assert UserspaceTables(tmp_path).apply(1000) == ""
    assert "dpctl/ct-set-maxconns" not in [method for method, _ in asked]


def test_without_a_switch_nothing_is_wrong(tmp_path: Path) -> None:
    assert UserspaceTables(tmp_path).apply(1000) == ""


def test_a_refusal_is_told_and_tried_again(tmp_path: Path) -> None:
    worker = UserspaceTables(tmp_path)
    with control_socket(process(tmp_path, 7), lambda *_: (None, "opening datapath: No such device\n")) as asked:
        assert worker.apply(1000) == f"conntrack limits of {DATAPATH}: opening datapath: No such device"
        assert worker.apply(1000)
        assert len(asked) == 2


def test_a_dead_socket_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ControlError):
        call(tmp_path / "none.ctl", "version")
