"""The findings stand in a table, or in JSON, and the exit status tells whether one failed."""

import json

from proxy.checks import report
from proxy.checks.bounded import Line
from proxy.checks.finding import failed, ok, skipped, warning

LINES = [
    Line("keys", ok("good keys: alice")),
    Line("disk", warning("state: /var/lib has 9 MiB left", "make room: df -h; df -i")),
]


def test_each_finding_is_a_row() -> None:
    assert report.as_table(LINES).splitlines() == [
        "CHECK  RESULT   FOUND                           WHAT TO DO",
        "keys   ok       good keys: alice",
        "disk   warning  state: /var/lib has 9 MiB left  make room: df -h; df -i",
    ]


def test_long_texts_are_broken_to_the_terminal_and_what_can_be_copied_stays_whole() -> None:
    lines = [Line("disk", warning("a " * 30 + "/a-very-long/path-of-more/than-half", "b " * 20))]
    shown = report.as_table(lines, width=60).splitlines()
    assert len(shown) > 3
    assert all(len(line) <= 60 + 15 for line in shown)
    assert any("/a-very-long/path-of-more/than-half" in line for line in shown)
    assert shown[1].startswith("disk   warning  a a")
    assert shown[2].startswith(" " * 16 + "a")


def test_programs_get_the_same() -> None:
    assert json.loads(report.as_json(LINES))[1] == {
        "check": "disk",
        "result": "warning",
        "found": "state: /var/lib has 9 MiB left",
        "to_do": "make room: df -h; df -i",
    }


def test_the_exit_status_is_1_if_anything_failed() -> None:
    assert report.status([*LINES, Line("clock", skipped("AWS has not told the time"))]) == 0
    assert report.status([*LINES, Line("keys", failed("none", "make one"))]) == 1
