"""Text ends before its first stop sequence, however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.stops import StopCutter

letters = st.text("abc", max_size=30)
stops = st.lists(st.text("abc", min_size=1, max_size=4), max_size=4)


def cut(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    cutter = StopCutter(stops)
    text = "".join(cutter.feed(piece) for piece in pieces) + cutter.end()
    return text, cutter.stopped


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one two", ["two"], ("one ", True)),
        ("one two", ["three"], ("one two", False)),
        ("one tw", ["two"], ("one tw", False)),
        ("one two", [], ("one two", False)),
        ("aaab", ["aab"], ("a", True)),
        ("abcd", ["abcd", "bc"], ("a", True)),  # the one that is complete first
        ("xabc", ["bc", "abc"], ("x", True)),
    ],
)
def test_the_text_before_the_stop_is_left(
    text: str, stops: list[str], expected: tuple[str, bool]
) -> None:
    assert cut([text], stops) == expected
    assert cut(list(text), stops) == expected


@given(st.lists(letters), stops)
def test_cuts_change_nothing(pieces: list[str], stops: list[str]) -> None:
    assert cut(pieces, stops) == cut(["".join(pieces)], stops)


@given(letters, stops)
def test_what_is_left_has_no_stop_in_it(text: str, stops: list[str]) -> None:
    left, stopped = cut([text], stops)
    assert text.startswith(left)
    assert not any(stop in left for stop in stops)
    assert stopped is any(stop in text for stop in stops)


def test_only_what_may_be_a_stop_is_held() -> None:
    cutter = StopCutter(["END"])
    assert cutter.feed("one EX") == "one EX"
    assert cutter.feed("two E") == "two "
    assert cutter.feed("N") == ""
    assert cutter.feed("d") == "ENd"
