"""The log is one JSON object a line."""

import io
import json
import logging
import os
from collections.abc import Iterator

import pytest

from proxy import log


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    output = io.StringIO()
    log.configure(output)
    yield output
    root.handlers[:] = handlers
    root.setLevel(level)


def entries(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_time_level_logger_message_and_its_fields(stream: io.StringIO) -> None:
    log.log_fields(logging.getLogger("proxy.x"), logging.INFO, "hello", status=200, model=None)
    (entry,) = entries(stream)
    assert str(entry.pop("time")).endswith("+00:00")
    assert entry == {
        "level": "info",
        "logger": "proxy.x",
        "pid": os.getpid(),
        "message": "hello",
        "status": 200,
    }


def test_line_ends_and_odd_characters_stay_inside_their_line(stream: io.StringIO) -> None:
    log.log_fields(logging.getLogger("proxy.x"), logging.INFO, "a\nb", model="\ud800\u2028é\x00")
    (entry,) = entries(stream)
    assert entry["message"] == "a\nb"
    assert entry["model"] == "\ud800\u2028é\x00"


def test_a_traceback_is_part_of_its_line(stream: io.StringIO) -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("proxy.x").exception("failed")
    (entry,) = entries(stream)
    assert "ValueError: boom" in str(entry["traceback"])


def test_libraries_that_quote_headers_are_kept_quiet(stream: io.StringIO) -> None:
    for name in ("botocore.auth", "urllib3", "tornado.general", "boto3"):
        logging.getLogger(name).debug("Authorization: secret")
        logging.getLogger(name).info("Authorization: secret")
    assert entries(stream) == []
    logging.getLogger("tornado.general").warning("trouble")
    assert len(entries(stream)) == 1
