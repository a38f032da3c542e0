"""What comes no faster than the pace goes on at once; what comes faster waits, and not for ever."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.pacing import Pace


def test_one_after_the_other_goes_on_at_once() -> None:
    pace = Pace(per_second=10, most_seconds=5)
    assert [pace.turn(1000 + number / 10) for number in range(100)] == [0.0] * 100


def test_a_second_s_worth_may_come_at_once_and_those_behind_it_take_turns() -> None:
    pace = Pace(per_second=4, most_seconds=5)
    assert [pace.turn(1000) for _ in range(7)] == [0, 0, 0, 0, 0, 0.25, 0.5]


def test_what_was_not_used_of_earlier_seconds_is_gone() -> None:
    pace = Pace(per_second=4, most_seconds=5)
    pace.turn(1000)
    assert [pace.turn(2000) for _ in range(6)][-1] == 0.25


def test_where_too_many_wait_nobody_waits_longer() -> None:
    pace = Pace(per_second=4, most_seconds=1)
    waits = [pace.turn(1000) for _ in range(20)]
    assert max(waits) == waits[-1] == 1.0
    assert pace.turn(1000.25) == 1.0
    assert pace.turn(1002) == 0.0  # and it is forgotten who did not keep the pace


@given(st.lists(st.integers(min_value=0, max_value=2000), min_size=1, max_size=300))
def test_in_no_second_do_more_go_on_than_twice_the_pace(steps: list[int]) -> None:
    pace, now, gone_on = Pace(per_second=4, most_seconds=1000), 1000.0, []
    for step in steps:
        now += step / 1024  # whole in binary, so that no sum is rounded
        gone_on.append(now + pace.turn(now))
    assert gone_on == sorted(gone_on)
    for first, last in zip(gone_on, gone_on[9:], strict=False):
        assert last - first >= 1.0
