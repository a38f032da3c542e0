"""What was used is added up from the log's lines, by key and model."""

import json
from datetime import UTC, datetime

from proxy.usage import Usage, Use


def line(**fields: object) -> bytes:
    entry = {
        "time": "2026-11-30T12:00:00.000+00:00",
        "logger": "proxy.access",
        "status": 200,
        "key": "alice",
        "model": "llama",
        **fields,
    }
    return json.dumps(entry).encode() + b"\n"


def used(*lines: bytes, since: datetime | None = None, until: datetime | None = None) -> Usage:
    usage = Usage(since, until)
    for each in lines:
        usage.take(each)
    return usage


def test_requests_and_tokens_are_added_up_by_key_and_model() -> None:
    usage = used(
        line(prompt_tokens=3, completion_tokens=10),
        line(prompt_tokens=4, completion_tokens=None),
        line(model="embed", prompt_tokens=5),
        line(key="bob", status=502),
    )
    assert usage.by_key_and_model == {
        ("alice", "llama"): Use(2, 0, 7, 10),
        ("alice", "embed"): Use(1, 0, 5, 0),
        ("bob", "llama"): Use(1, 1, 0, 0),
    }
    assert usage.total() == Use(4, 1, 12, 10)


def test_all_that_is_no_request_to_a_model_is_passed_over() -> None:
    usage = used(
        line(logger="proxy.catalog"),
        line(key=None, status=401),
        line(model=None),
        b'{"logger": "proxy.access", "status": "none"}\n',
        b'"proxy.access" cut in the mid\n',
        b"\xff\xfe\n",
    )
    assert usage.by_key_and_model == {}
    assert usage.first is None


def test_names_that_clients_make_up_are_one() -> None:
    usage = used(*(line(model=f"x{n}", status=404, error="model_not_found") for n in range(9)))
    assert usage.by_key_and_model == {("alice", "unknown"): Use(9, 9, 0, 0)}


def test_a_period_begins_with_its_first_moment_and_ends_before_its_last() -> None:
    times = [f"2026-11-{day}T00:00:00.000+00:00" for day in (28, 29, 30)]
    since, until = (datetime(2026, 11, day, tzinfo=UTC) for day in (28, 30))
    usage = used(*(line(time=time) for time in reversed(times)), since=since, until=until)
    assert usage.total().requests == 2
    assert (usage.first, usage.last) == (times[0], times[1])
