"""A pipe that is read late, or never."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from proxy import log
from proxy.pipes import Pipe

SCRIPT = """
import logging, sys
from proxy import log
log.configure()
for number in range(500):
    logging.error("x" * 1000, extra={"fields": {"number": number}})
print("done", flush=True)
"""


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """Of a pipe: for reading, for writing."""
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        os.close(fd)


def test_what_it_does_not_take_now_is_told_and_others_may_still_wait_for_it(
    ends: tuple[int, int],
) -> None:
    pipe = Pipe(ends[1])
    sent = pipe.send(bytes(1 << 20))
    assert 0 < sent < 1 << 20
    with pytest.raises(BlockingIOError):
        pipe.send(b"more")
    assert os.get_blocking(ends[1])
    assert len(os.read(ends[0], 1 << 20)) == sent
    assert pipe.send(b"more") == 4


def test_all_of_it_arrives_as_it_is_read(ends: tuple[int, int]) -> None:
    text = bytes(range(256)) * 4000
    writer = threading.Thread(target=Pipe(ends[1]).sendall, args=(text,))
    writer.start()
    read = b""
    while len(read) < len(text):
        read += os.read(ends[0], 10_000)
    writer.join()
    assert read == text


def test_what_is_no_pipe_is_refused() -> None:
    with pytest.raises(OSError, match=r"\d"):
        Pipe(1 << 20)


def test_the_log_is_written_to_it_without_waiting() -> None:
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"done\n"  # and nobody has read a line of the log
        numbers = [json.loads(line)["number"] for line in process.stderr]
    assert numbers == list(range(500))


def test_the_log_goes_nowhere_where_standard_error_is_closed() -> None:
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"done\n"


def test_one_that_is_gone_disturbs_nobody() -> None:
    reading, writing = os.pipe()
    handler = log.JournalHandler(Pipe(writing))
    os.close(reading)
    handler.emit(logging.makeLogRecord({"msg": "nobody"}))
    os.close(writing)
