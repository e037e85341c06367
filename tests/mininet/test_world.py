"""A private world shows nothing of the machine, and leaves nothing on it whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

WORLD = str(Path(__file__).resolve().parents[2] / "mininet" / "world.py")


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, WORLD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, WORLD, *arguments], capture_output=True, text=True, timeout=30, check=False)


def soon(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def processes_with(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode()
            except OSError:
                continue
            if mark in command and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def test_a_world_has_its_own_network_processes_and_run_directory() -> None:
    seen = run("--", "sh", "-c", "ls /sys/class/net; ls -A /run; ls -A /run/openvswitch; echo $$").stdout.split()
    assert seen[:2] == ["lo", "openvswitch"]
    assert len(seen) == 3
    assert int(seen[2]) < 10


@pytest.mark.parametrize(("command", "status"), [("true", 0), ("exit 7", 7), ("kill -9 $$", 128 + 9)])
def test_the_status_is_that_of_the_command(command: str, status: int) -> None:
    assert run("--", "sh", "-c", command).returncode == status


def test_sigterm_reaches_the_command() -> None:
    world = start("--", "sh", "-c", "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    assert world.stdout is not None
    assert world.stdout.readline() == "ready\n"
    world.terminate()
    assert world.communicate(timeout=10)[0] == "asked\n"
    assert world.returncode == 3


@pytest.mark.parametrize("victim", ["world", "its parent"])
def test_kill_9_leaves_no_process(victim: str, tmp_path: Path) -> None:
    mark = f"left-by-{tmp_path.name}"
    # `exec -a`: the mark is the name of a daemon that left its parent, as OVS and Mininet's hosts do.
    inner = ["--", "bash", "-c", f"(exec -a {mark} setsid sleep 600) & echo ready; wait"]
    if victim == "world":
        top = start(*inner)
    else:
        script = "import subprocess,sys; subprocess.run(sys.argv[1:])"
        top = subprocess.Popen(
            [sys.executable, "-c", script, sys.executable, WORLD, *inner], stdout=subprocess.PIPE, text=True
        )
    assert top.stdout is not None
    assert top.stdout.readline() == "ready\n"
    assert soon(lambda: bool(processes_with(mark)))
    top.send_signal(signal.SIGKILL)
    top.wait()
    assert soon(lambda: not processes_with(mark)), processes_with(mark)


def test_a_shared_directory_is_seen_from_outside_and_removed(tmp_path: Path) -> None:
    share = tmp_path / "shared"
    world = start("--share", str(share), "--", "sh", "-c", "echo inside >/run/openvswitch/file; echo ready; sleep 600")
    assert world.stdout is not None
    assert world.stdout.readline() == "ready\n"
    assert (share / "file").read_text() == "inside\n"
    second = run("--share", str(share), "--", "true")
    assert second.returncode == 1
    assert "in use" in second.stderr
    world.terminate()
    world.communicate(timeout=10)
    assert not share.exists()


def test_what_a_killed_world_left_is_gone_at_the_next_start(tmp_path: Path) -> None:
    share = tmp_path / "shared"
    world = start("--share", str(share), "--", "sh", "-c", "echo old >/run/openvswitch/file; echo ready; sleep 600")
    assert world.stdout is not None
    assert world.stdout.readline() == "ready\n"
    world.kill()
    world.wait()
    assert (share / "file").exists()

    def starts() -> bool:
        again = run("--share", str(share), "--", "sh", "-c", "ls -A /run/openvswitch")
        return again.returncode == 0 and again.stdout.split() in ([], ["world.pid"])

    assert soon(starts)
    assert not share.exists()
