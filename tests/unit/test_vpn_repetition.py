"""Which lines of charon are logged, and which only said again."""

from __future__ import annotations

from vpn.log_deduplication import AGAIN_SECONDS, LogDeduplication


def test_a_dead_peer_is_logged_once_an_hour() -> None:
    repetition = LogDeduplication()
    logged = []
    for attempt in range(2000):
        now = attempt * 5.0
        for line in (
            f"initiating IKE_SA hq[{attempt}] to 198.51.100.66",
            f"retransmit 1 of request with message ID {attempt % 3}",
            f"received packet with SPI c0ffee{attempt:02x}",
        ):
            if repetition.new("hq", line, now):
                logged.append(line)
    # 10,000 s are two hours and three quarters.
    assert len(logged) == 3 * 3
    assert 3 * AGAIN_SECONDS > 2000 * 5


def test_what_is_new_or_of_another_connection_is_logged() -> None:
    repetition = LogDeduplication()
    assert repetition.new("hq", "peer not responding, trying again (1/0)", 0)
    assert not repetition.new("hq", "peer not responding, trying again (2/0)", 5)
    assert repetition.new("branch", "peer not responding, trying again (1/0)", 5)
    assert repetition.new("hq", "received AUTHENTICATION_FAILED notify error", 6)
    repetition.forget("hq")
    assert repetition.new("hq", "peer not responding, trying again (3/0)", 7)


def test_what_is_remembered_is_bounded() -> None:
    repetition = LogDeduplication()
    for number in range(10000):
        repetition.new("hq", f"a line with {'x' * number}", 0)
    assert sum(map(len, repetition._said.values())) <= 4096
