"""Addresses that wrong keys come from."""

import time

import pytest

from proxy import guesses
from proxy.guesses import MOST_A_MINUTE, Guesses


def test_the_first_of_a_minute_are_let_pass_and_the_others_are_told_how_long() -> None:
    seen = Guesses()
    assert [seen.note("192.0.2.1") for _ in range(MOST_A_MINUTE)] == [0] * MOST_A_MINUTE
    assert 59 <= seen.note("192.0.2.1") <= 60 + 1
    assert seen.note("192.0.2.2") == 0


def test_after_a_minute_it_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, now = Guesses(), time.monotonic()
    for _ in range(MOST_A_MINUTE + 1):
        seen.note("192.0.2.1")
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert seen.note("192.0.2.1") == 0


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ],
)
def test_an_ipv6_client_has_sixty_four_bits_to_choose_from(
    first: str, second: str, same: bool
) -> None:
    seen = Guesses()
    for _ in range(MOST_A_MINUTE):
        seen.note(first)
    assert (seen.note(second) > 0) is same


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "_MOST_ADDRESSES", 3)
    seen = Guesses()
    for _ in range(MOST_A_MINUTE):
        seen.note("first")
    for name in "abc":
        seen.note(name)
    assert seen.note("first") == 0
