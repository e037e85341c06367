"""What is asked of charon over vici."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from vpn import charon
from vpn.charon import Charon
from vpn.namespace import GatewayNamespace


def test_a_question_that_waits_too_long_ends_neither_charon_nor_its_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charon, "_BUSY_SECONDS", 0.05)
    one = Charon(tmp_path, GatewayNamespace(1, kernel_esp=False), False, lambda name, message: None)
    one._session = "the session of other commands"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "charon.vici"))
        silent.listen()
        held: list[object] = []
        accepting = threading.Thread(target=lambda: held.append(silent.accept()))
        accepting.start()
        assert one.associations_of("office") is None
        accepting.join(5)
    assert one.running
