"""The log is one JSON object a line."""

import io
import json
import logging
import os
import socket
import subprocess
import sys
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


class TestJournal:
    """A socket that is read late, or never."""

    @pytest.fixture
    def journal(self) -> Iterator[socket.socket]:
        """The reader's end of what the log is written to."""
        ours, theirs = socket.socketpair()
        self.handler = log.JournalHandler(theirs)
        self.handler.setFormatter(log.JsonFormatter())
        with ours, theirs:
            yield ours

    def emit(self, number: int, padding: str = "") -> None:
        self.handler.emit(logging.makeLogRecord({"msg": padding, "fields": {"number": number}}))

    def read(self, journal: socket.socket, last: int) -> list[dict[str, object]]:
        """All lines up to the one with a number."""
        found = []
        with journal.makefile() as lines:
            for line in lines:
                found.append(json.loads(line))
                if found[-1].get("number") == last:
                    break
        return found

    def test_lines_that_it_does_not_take_yet_wait_and_keep_their_order(
        self, journal: socket.socket
    ) -> None:
        for number in range(2000):
            self.emit(number, "x" * 1000)  # ten times what the socket holds
        assert [line["number"] for line in self.read(journal, 1999)] == list(range(2000))
        self.handler.flush()
        self.emit(2000)
        assert self.read(journal, 2000)

    def test_a_line_longer_than_the_socket_holds_arrives_whole(
        self, journal: socket.socket
    ) -> None:
        self.emit(1, "x" * 1_000_000)
        (line,) = self.read(journal, 1)
        assert line["message"] == "x" * 1_000_000

    def test_what_is_too_much_is_counted(
        self, journal: socket.socket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log, "_MOST_WAITING_BYTES", 10_000)
        for number in range(2000):
            self.emit(number, "x" * 1000)
        lines = []
        with journal.makefile() as file:
            for each in file:
                lines.append(json.loads(each))
                if "lines" in lines[-1]:
                    break
        numbers = [line["number"] for line in lines[:-1]]
        assert numbers == sorted(numbers)
        assert lines[-1]["lines"] == 2000 - len(numbers)
        assert lines[-1]["level"] == "warning"

    def test_one_that_is_gone_disturbs_nobody(self, journal: socket.socket) -> None:
        for number in range(2000):
            self.emit(number, "x" * 1000)
        journal.close()
        self.handler.flush()
        self.emit(1)

    def test_it_is_taken_where_standard_error_is_a_socket(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            script = "from proxy import log; import logging; log.configure(); logging.error('here')"
            subprocess.run([sys.executable, "-c", script], stderr=theirs.fileno(), check=True)
            assert json.loads(ours.recv(10_000))["message"] == "here"
