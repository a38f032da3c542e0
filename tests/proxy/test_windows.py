"""Counts that all workers of a host share."""

import resource
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import windows
from proxy.windows import Counter, Windows, WindowsFull, forget_in_use
from tests.small_disk import small_disk

REQUESTS, TOKENS = Counter.REQUESTS, Counter.TOKENS


class Clock:
    def __init__(self) -> None:
        self.now = 1000.5

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_what_one_worker_counts_all_see(tmp_path: Path) -> None:
    first, second = (Windows(tmp_path, column, ["alice", "bob"]) for column in range(2))
    first.add("alice", REQUESTS, 2)
    second.add("alice", REQUESTS, 3)
    second.add("bob", TOKENS, 7)
    for each in (first, second):
        assert each.count("alice", REQUESTS) == 5
        assert each.count("alice", TOKENS) == 0
        assert each.count("bob", TOKENS) == 7


def test_a_worker_that_comes_later_sees_it_and_is_seen(tmp_path: Path) -> None:
    first = Windows(tmp_path, 0, ["alice"])
    first.add("alice", REQUESTS, 2)
    later = Windows(tmp_path, 5, ["zoe", "alice"])
    later.add("alice", REQUESTS, 1)
    assert first.count("alice", REQUESTS) == later.count("alice", REQUESTS) == 3


def test_one_that_goes_on_in_a_column_keeps_the_minute_and_nothing_in_use(tmp_path: Path) -> None:
    before = Windows(tmp_path, 0, ["alice"])
    before.add("alice", REQUESTS, 2)
    before.enter("alice")
    after = Windows(tmp_path, 0, ["alice"])
    assert after.count("alice", REQUESTS) == 2
    assert after.in_use("alice") == 0


def test_what_is_in_use_ends_with_its_worker(tmp_path: Path) -> None:
    living, dead = (Windows(tmp_path, column, ["alice"]) for column in range(2))
    living.enter("alice")
    dead.enter("alice")
    assert living.in_use("alice") == 2
    forget_in_use(tmp_path, 1)
    assert living.in_use("alice") == 1
    living.leave("alice")
    assert living.in_use("alice") == 0
    forget_in_use(tmp_path, 2)  # of which there is none


def test_nothing_is_forgotten_within_a_minute_and_all_of_it_a_second_after(
    tmp_path: Path, clock: Clock
) -> None:
    counts = Windows(tmp_path, 0, ["alice"])
    counts.add("alice", REQUESTS, 3)
    clock.now += 60
    assert counts.count("alice", REQUESTS) == 3
    clock.now += 1
    assert counts.count("alice", REQUESTS) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 130), st.integers(0, 2), st.integers(1, 50)), max_size=30))
def test_a_count_is_that_of_the_last_sixty_seconds(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, int]]
) -> None:
    directory, clock = tmp_path_factory.mktemp("shared"), Clock()
    counted: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", clock)
        workers = [Windows(directory, column, ["alice"]) for column in range(3)]
        for seconds, worker, amount in steps:
            clock.now += seconds
            workers[worker].add("alice", TOKENS, amount)
            counted.append((int(clock.now), amount))
            now = int(clock.now)
            expected = sum(amount for second, amount in counted if second >= now - 60)
            assert {each.count("alice", TOKENS) for each in workers} == {expected}
            for below in (1, expected):
                wait = workers[0].wait_seconds("alice", TOKENS, below)
                left = [sum(a for s, a in counted if s >= now + w - 60) for w in (wait - 1, wait)]
                assert left[1] < below <= left[0]


def test_one_can_be_taken_back(tmp_path: Path, clock: Clock) -> None:
    counts = Windows(tmp_path, 0, ["alice"])
    counts.add("alice", REQUESTS, 1)
    counts.add("alice", REQUESTS, -1)
    assert counts.count("alice", REQUESTS) == 0
    clock.now += 1
    counts.add("alice", REQUESTS, -1)  # what was counted in the second before
    assert counts.count("alice", REQUESTS) == 0


def test_there_is_no_wait_under_the_limit(tmp_path: Path) -> None:
    assert Windows(tmp_path, 0, ["alice"]).wait_seconds("alice", REQUESTS, 1) == 0


def test_names_that_no_place_is_left_for_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "CAPACITY", 3)
    counts = Windows(tmp_path, 0, "abc")
    for name in "abc":
        counts.add(name, REQUESTS, ord(name))
    assert [counts.count(name, REQUESTS) for name in "abc"] == [97, 98, 99]
    with pytest.raises(WindowsFull, match="room for 3 names"):
        Windows(tmp_path, 1, "abcd")


def test_memory_is_taken_only_by_what_is_counted(tmp_path: Path) -> None:
    counts = Windows(tmp_path, 0, (f"key-{number}" for number in range(1000)))
    counts.add("key-7", REQUESTS, 1)
    taken = sum(path.stat().st_blocks * 512 for path in tmp_path.iterdir())
    assert taken < 8_000_000


def test_on_a_full_disk_each_worker_counts_alone_until_there_is_space(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=512) as disk:
        first, second = (Windows(disk.folder, column, ["alice", "bob"]) for column in range(2))
        first.add("alice", REQUESTS, 1)
        disk.fill()
        for each in (first, second):
            each.add("alice", REQUESTS, 2)
            each.add("bob", REQUESTS, 3)
            each.enter("bob")
            assert each.count("bob", REQUESTS) == 3
            assert each.in_use("bob") == 1
        assert first.count("alice", REQUESTS) == 3
        disk.empty()
        for each in (first, second):
            each.add("bob", REQUESTS, 1)
            each.add("alice", REQUESTS, 1)
        for each in (first, second):
            assert each.count("bob", REQUESTS) == 8
            assert each.count("alice", REQUESTS) == 7
            assert each.in_use("bob") == 2


def test_one_that_begins_on_a_full_disk_says_that_it_cannot(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=512) as disk:
        disk.fill()
        with pytest.raises(OSError, match="No space left on device"):
            Windows(disk.folder, 0, ["alice"])


def test_without_a_descriptor_a_worker_counts_what_it_sees_already(tmp_path: Path) -> None:
    first, second = (Windows(tmp_path, column, ["alice"]) for column in range(2))
    first.add("alice", REQUESTS, 1)
    second.add("alice", REQUESTS, 2)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))  # which are in use
    try:
        assert first.count("alice", REQUESTS) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert first.count("alice", REQUESTS) == 3
