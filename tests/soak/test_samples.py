"""What rises is told from what only moves."""

import os

import pytest

from tests.soak import samples
from tests.soak.samples import Course, Sample

MIB = 1024 * 1024


def course(memory: list[float], descriptors: list[int] | None = None) -> Course:
    held = descriptors or [20] * len(memory)
    return Course(
        "worker",
        [
            Sample(at, int(mib * MIB), count, 3)
            for at, (mib, count) in enumerate(zip(memory, held, strict=True))
        ],
    )


def test_the_slope_is_that_of_the_line() -> None:
    assert samples.slope([(0, 5), (1, 7), (2, 9)]) == pytest.approx(2)
    assert samples.slope([(0, 5), (1, 9), (2, 5), (3, 9), (4, 5)]) == pytest.approx(0)
    assert samples.slope([(3, 5)]) == 0


def test_memory_that_goes_up_and_down_is_in_order() -> None:
    assert course([60, 64, 60, 65, 60, 64, 61] * 5).excess(2 * MIB) is None


def test_memory_that_rises_is_not() -> None:
    risen = course([60 + n * 0.1 for n in range(60)])
    assert risen.risen == pytest.approx(5.9 * MIB, rel=0.01)
    told = risen.excess(4 * MIB)
    assert told is not None
    assert told.startswith("worker: memory has risen by 5.9 MiB in 59 s")


def test_descriptors_may_come_and_go_but_not_stay() -> None:
    assert course([60.0] * 30, [20, 60, 90] * 10).excess(MIB) is None
    told = course([60.0] * 30, [20 + n for n in range(30)]).excess(MIB)
    assert told == "worker: descriptors were 20 at least, and then 40"


def test_a_process_is_looked_at() -> None:
    before = samples.take(os.getpid(), 0)
    reading, writing = os.pipe()
    after = samples.take(os.getpid(), 1)
    os.close(reading)
    os.close(writing)
    assert after.descriptors == before.descriptors + 2
    assert after.memory > MIB
    assert after.threads >= 1
