"""Numbers stay in order, over crashes, releases and full disks; any worker reads them all."""

import os
from pathlib import Path

import pytest

from proxy import metric_files
from proxy.metric_families import CONNECTIONS, DURATIONS, KEY_REQUESTS, WAITS
from proxy.metric_files import MetricFiles, Numbers, folder

NAME = ("key_requests_total", ("alice", "2xx"))


def add(files: MetricFiles, key: str, amount: float) -> None:
    files.totals.numbers[files.totals.place(KEY_REQUESTS, key, "2xx")] += amount


def test_a_series_has_one_place_of_its_size() -> None:
    numbers = Numbers()
    at = numbers.place(DURATIONS, "/predict", "llama")
    after = numbers.place(WAITS)
    assert after == at + len(DURATIONS.bounds) + 2
    assert numbers.place(DURATIONS, "/predict", "llama") == at
    assert numbers.place(DURATIONS, "/predict", "other") > after


def test_what_there_is_no_room_for_disturbs_nothing() -> None:
    numbers = Numbers(66)
    first, second = numbers.place(WAITS), numbers.place(KEY_REQUESTS, "alice", "2xx")
    beyond = numbers.place(DURATIONS, "/predict", "llama")
    for at in range(beyond, beyond + DURATIONS.size):
        numbers.numbers[at] += 1
    assert dict(numbers.series()) == {("waking_waits_total", ()): [0.0], NAME: [0.0]}
    assert {first, second}.isdisjoint(range(beyond, beyond + DURATIONS.size))


def test_every_worker_reads_them_all_at_once(tmp_path: Path) -> None:
    one, other = MetricFiles(tmp_path, 0), MetricFiles(tmp_path, 1)
    add(one, "bob", 1)
    add(one, "alice", 2)
    add(other, "alice", 3)
    assert one.read() == other.read() == {NAME: [5.0], (NAME[0], ("bob", "2xx")): [1.0]}


def test_a_name_that_was_not_written_whole_is_no_name(tmp_path: Path) -> None:
    add(MetricFiles(tmp_path, 0), "alice", 2)
    with (folder(tmp_path) / "0.names").open("ab") as names:
        names.write(b'["key_requests_total",["bo')
    again = MetricFiles(tmp_path, 0)
    add(again, "carol", 4)
    assert again.read() == {NAME: [2.0], (NAME[0], ("carol", "2xx")): [4.0]}


def test_numbers_that_are_not_there_spoil_no_others(tmp_path: Path) -> None:
    one, other = MetricFiles(tmp_path, 0), MetricFiles(tmp_path, 1)
    add(one, "alice", 2)
    add(other, "alice", 3)
    other.totals.place(DURATIONS, "/predict", "llama")
    os.truncate(folder(tmp_path) / "1.numbers", 0)
    assert one.read() == {NAME: [2.0]}


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b'["gone_total",[],1]\n', b'["key_requests_total",["alice","2xx"],7]\n']
)
def test_what_is_not_of_this_release_is_not_told_of_and_not_built_on(
    tmp_path: Path, line: bytes
) -> None:
    add(MetricFiles(tmp_path, 0), "alice", 2)
    with (folder(tmp_path) / "0.names").open("ab") as names:
        names.write(line)
    assert ("gone_total", ()) not in MetricFiles(tmp_path, 1).read()
    again = MetricFiles(tmp_path, 0)
    add(again, "alice", 1)
    assert again.read() == {NAME: [1.0]}


def test_on_a_full_disk_a_worker_counts_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = MetricFiles(tmp_path, 1)
    add(other, "alice", 1)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "posix_fallocate", fail)
        alone = MetricFiles(tmp_path, 0)
    add(alone, "alice", 2)
    assert (alone.read(), other.read()) == ({NAME: [3.0]}, {NAME: [1.0]})
    assert "No space left" in caplog.text
    add(MetricFiles(tmp_path, 0), "alice", 4)
    assert other.read() == {NAME: [5.0]}


def test_a_disk_that_is_full_later_costs_new_series_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = MetricFiles(tmp_path, 0)
    add(files, "alice", 2)
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, line: write(fd, line[:3]))
        add(files, "bob", 1)
    add(files, "alice", 1)
    add(files, "carol", 1)
    assert files.read() == {NAME: [3.0], (NAME[0], ("carol", "2xx")): [1.0]}


def test_what_is_of_this_moment_ends_with_its_worker(tmp_path: Path) -> None:
    files = MetricFiles(tmp_path, 0)
    files.live.numbers[files.of(CONNECTIONS).place(CONNECTIONS)] = 5
    add(files, "alice", 2)
    assert MetricFiles(tmp_path, 1).read()[CONNECTIONS.name, ()] == [5.0]
    metric_files.forget_live(tmp_path, 0)
    assert MetricFiles(tmp_path, 1).read() == {NAME: [2.0]}
