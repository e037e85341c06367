"""One JSON object a line, whatever is logged."""

import json
import logging
import sys

import pytest

from state.logs import JsonFormatter, configure


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("sluice.store", logging.WARNING, __file__, 1, message, args, None)
    vars(made).update(extra)
    return made


def test_line_has_time_level_logger_message_and_fields() -> None:
    line = json.loads(JsonFormatter().format(record("created %s", "a", network="a", key=7)))
    assert line["time"].endswith("Z")
    assert (line["level"], line["logger"], line["message"]) == ("warning", "sluice.store", "created a")
    assert (line["network"], line["key"]) == ("a", 7)
    assert line.keys() == {"time", "level", "logger", "message", "network", "key"}


def test_newlines_and_odd_values_stay_on_one_line() -> None:
    text = JsonFormatter().format(record("two\nlines", thing={1, 2}, error=ValueError("bad")))
    assert "\n" not in text
    assert json.loads(text)["error"] == "bad"


def test_exception_is_a_field() -> None:
    made = record("failed")
    try:
        raise KeyError("missing")
    except KeyError:
        made.exc_info = sys.exc_info()
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert "KeyError: 'missing'" in json.loads(line)["exception"]


def test_configure_again_changes_the_level_and_keeps_one_handler(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure("error")
        configure("info")
        logging.getLogger("sluice.test").info("hello", extra={"request_id": "r"})
        logging.getLogger("sluice.test").debug("hidden")
        lines = capsys.readouterr().err.splitlines()
        assert [json.loads(line)["message"] for line in lines] == ["hello"]
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def test_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure("loud")
