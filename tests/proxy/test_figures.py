"""A key's own figures: counted by each worker, added up for whoever asks, never without bound."""

import asyncio
import logging
from pathlib import Path

import pytest

from proxy import figures
from proxy.figures import Figures, Row


async def written(*workers: Figures) -> None:
    """As it is when the workers have ended."""
    for each in workers:
        task = asyncio.create_task(each.keep_written())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_requests_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    one = Figures(tmp_path, 0)
    for status in (200, 200, 404, 429, 502):
        one.request_ended("alice", "chat", status, None)
    one.request_ended("alice", "chat", 200, 0.25)
    one.request_ended("alice", "chat", 503, 9.0)  # no answer has come: no first token
    one.tokens_used("alice", "chat", 10, 20)
    await written(one)
    expected = Row(7, client_errors=2, server_errors=2, streams=1, first_token_seconds=0.25)
    expected.prompt_tokens, expected.completion_tokens = 10, 20
    assert await one.of_key("alice") == {"chat": expected}


async def test_all_workers_are_added_up(tmp_path: Path) -> None:
    workers = [Figures(tmp_path, column) for column in range(3)]
    for each in workers:
        each.request_ended("alice", "chat", 200, 0.5)
    workers[0].request_ended("alice", "embed", 200, None)
    await written(*workers)
    assert await workers[1].of_key("alice") == {
        "chat": Row(3, streams=3, first_token_seconds=1.5),
        "embed": Row(1),
    }


async def test_a_key_sees_its_own_alone(tmp_path: Path) -> None:
    one = Figures(tmp_path, 0)
    one.request_ended("alice", "chat", 200, None)
    await written(one)
    assert await one.of_key("bob") == {}


async def test_a_worker_goes_on_where_the_one_before_it_ended(tmp_path: Path) -> None:
    before = Figures(tmp_path, 0)
    before.request_ended("alice", "chat", 200, None)
    before.wait_began("alice", "sleeper")
    await written(before)
    after = Figures(tmp_path, 0)
    after.request_ended("alice", "chat", 200, None)
    await written(after)
    # What waited has gone with the worker.
    assert await after.of_key("alice") == {"chat": Row(2), "sleeper": Row()}


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"[]", b'{"alice": {"chat": {"requests": "x"}}}']
)
async def test_one_that_cannot_read_the_file_begins_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "0.json").write_bytes(content)
    one = Figures(tmp_path, 0)
    one.request_ended("alice", "chat", 200, None)
    await written(one)
    assert await one.of_key("alice") == {"chat": Row(1)}


async def test_fields_of_another_release_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "1.json").write_bytes(b'{"alice": {"chat": {"requests": 2, "new": 1}}}')
    assert await Figures(tmp_path, 0).of_key("alice") == {"chat": Row(2)}


async def test_waiting_is_of_this_moment(tmp_path: Path) -> None:
    one = Figures(tmp_path, 0)
    one.wait_began("alice", "sleeper")
    one.wait_began("alice", "sleeper")
    one.wait_ended("alice", "sleeper")
    await written(one)
    assert (await one.of_key("alice"))["sleeper"].waking == 1


async def test_nobody_waits_for_what_a_worker_that_was_killed_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = Figures(tmp_path, 0)
    killed.wait_began("alice", "sleeper")
    await written(killed)
    monkeypatch.setattr(figures, "_WRITE_SECONDS", 0.001)
    following = Figures(tmp_path, 0)
    writing = asyncio.create_task(following.keep_written())
    async with asyncio.timeout(10):
        while (await following.of_key("alice"))["sleeper"].waking:
            await asyncio.sleep(0.001)
    writing.cancel()


async def test_names_that_no_model_has_are_one(tmp_path: Path) -> None:
    one = Figures(tmp_path, 0, {"chat"}.__contains__)
    for number in range(10):
        one.request_ended("alice", f"made-up-{number}", 404, None)
    one.request_ended("alice", "chat", 502, None)
    one.request_ended("alice", "just-deployed", 200, None)  # it has answered, so there is one
    await written(one)
    assert await one.of_key("alice") == {
        "unknown": Row(10, client_errors=10),
        "chat": Row(1, server_errors=1),
        "just-deployed": Row(1),
    }


async def test_there_are_only_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MOST_ROWS", 3)
    one = Figures(tmp_path, 0)
    for key in ("first", "second"):
        one.request_ended(key, "a", 200, None)
        one.request_ended(key, "b", 200, None)
    await written(one)
    assert await one.of_key("first") == {}
    assert set(await one.of_key("second")) == {"a", "b"}


async def test_it_is_written_while_the_worker_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "_WRITE_SECONDS", 0.01)
    one = Figures(tmp_path, 0)
    task = asyncio.create_task(one.keep_written())
    one.request_ended("alice", "chat", 200, None)
    async with asyncio.timeout(10):
        while not await one.of_key("alice"):
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_cannot_be_written_is_told_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(figures, "_WRITE_SECONDS", 0.01)
    one = Figures(tmp_path, 0)
    one.folder.write_text("a file, where a folder is to be")
    task = asyncio.create_task(one.keep_written())
    one.request_ended("alice", "chat", 200, None)
    async with asyncio.timeout(10):
        while not caplog.records:
            await asyncio.sleep(0.01)
        one.folder.unlink()
        while not await one.of_key("alice"):
            await asyncio.sleep(0.01)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
