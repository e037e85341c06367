"""Secrets at rest: who has the key reads them, nobody else."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from state.encryption import EncryptionError, SecretBox


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_not_used(tmp_path: Path, mode: int) -> None:
    key = tmp_path / "key"
    SecretBox.at(key)
    key.chmod(mode)
    with pytest.raises(EncryptionError, match=f"has mode {mode:04o}: others may read the key; chmod 600 it"):
        SecretBox.at(key)
    with pytest.raises(EncryptionError):
        SecretBox.once_made(key, threading.Event())
    key.chmod(0o400)
    assert SecretBox.at(key)


def test_what_is_sealed_can_be_opened_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "vpn.key"
    sealed = SecretBox.at(path).seal("a secret ✓")
    assert SecretBox.at(path).open(sealed) == "a secret ✓"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["vpn.key"]


def test_what_is_sealed_tells_nothing(tmp_path: Path) -> None:
    seal = SecretBox.at(tmp_path / "vpn.key")
    sealed = seal.seal("a secret")
    assert "secret" not in sealed
    # Not even that two are the same.
    assert seal.seal("a secret") != sealed


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    sealed = SecretBox.at(tmp_path / "one.key").seal("a secret")
    other = SecretBox.at(tmp_path / "other.key")
    for text in (sealed, sealed[:-4] + "AAA=", "", "secret"):
        with pytest.raises(EncryptionError) as error:
            other.open(text)
        assert "a secret" not in str(error.value)


def test_digests_are_the_same_for_the_same_key_alone(tmp_path: Path) -> None:
    one, again = SecretBox.at(tmp_path / "one.key"), SecretBox.at(tmp_path / "one.key")
    assert one.digest("a secret") == again.digest("a secret")
    assert one.digest("a secret") != one.digest("a secret.")
    assert SecretBox.at(tmp_path / "other.key").digest("a secret") != one.digest("a secret")


def test_keys_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "short.key").write_text("c2hvcnQ=\n")
    (tmp_path / "directory.key").mkdir()
    for name in ("short.key", "directory.key", "none/vpn.key"):
        with pytest.raises(EncryptionError) as error:
            SecretBox.at(tmp_path / name)
        assert "c2hvcnQ" not in str(error.value)
    assert (tmp_path / "short.key").read_text() == "c2hvcnQ=\n"


def test_of_many_that_make_a_key_all_have_the_same(tmp_path: Path) -> None:
    seals: list[SecretBox] = []
    threads = [threading.Thread(target=lambda: seals.append(SecretBox.at(tmp_path / "vpn.key"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seals) == 8
    assert len({seal.digest("a secret") for seal in seals}) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["vpn.key"]


def test_whoever_only_reads_the_key_waits_until_it_is_made(tmp_path: Path) -> None:
    path, stopped = tmp_path / "vpn.key", threading.Event()
    found: list[SecretBox | None] = []
    reader = threading.Thread(target=lambda: found.append(SecretBox.once_made(path, stopped)))
    reader.start()
    assert not path.exists()
    sealed = SecretBox.at(path).seal("a secret")
    reader.join(10)
    assert [one and one.open(sealed) for one in found] == ["a secret"]


def test_whoever_waits_for_the_key_can_be_stopped_and_has_not_made_one(tmp_path: Path) -> None:
    stopped = threading.Event()
    stopped.set()
    assert SecretBox.once_made(tmp_path / "vpn.key", stopped) is None
    assert not (tmp_path / "vpn.key").exists()
