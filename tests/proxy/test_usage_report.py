"""What each key has used, for people and for programs."""

import io
import json

from proxy import usage_report
from proxy.progress import Progress
from proxy.usage import Usage
from tests.proxy.test_usage import line


def added_up(*lines: bytes) -> Usage:
    return usage_report.add_up(lines, None, None, Progress(io.StringIO()))


def test_a_table_has_a_line_for_each_key_and_model_and_one_for_all() -> None:
    usage = added_up(
        *[line(prompt_tokens=1500, completion_tokens=2)] * 2, line(key="bob", status=429)
    )
    assert usage_report.as_table(usage).splitlines() == [
        "From 2026-11-30T12:00:00.000+00:00 to 2026-11-30T12:00:00.000+00:00",
        "",
        "KEY    MODEL  REQUESTS  FAILED  PROMPT TOKENS  COMPLETION TOKENS",
        "alice  llama         2       0          3,000                  4",
        "bob    llama         1       1              0                  0",
        "total                3       1          3,000                  4",
    ]


def test_nothing_is_said_to_be_nothing() -> None:
    assert usage_report.as_table(added_up()).startswith("The log has no requests")


def test_programs_get_json() -> None:
    told = json.loads(usage_report.as_json(added_up(line(prompt_tokens=3))))
    numbers = {"requests": 1, "failed": 0, "prompt_tokens": 3, "completion_tokens": 0}
    assert told["usage"] == [{"key": "alice", "model": "llama", **numbers}]
    assert told["total"] == numbers
    assert told["first"] == told["last"] == "2026-11-30T12:00:00.000+00:00"
