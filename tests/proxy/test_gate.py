"""Who is let in at once, who waits, and in which order."""

import asyncio
from collections import Counter

import pytest

from proxy.gate import Gate, QueueFull


class Bounds:
    """The names' own bounds; what they are using is counted elsewhere, too."""

    def __init__(self, **most: int) -> None:
        self.most = most
        self.used: Counter[str] = Counter()

    def enter(self, name: str) -> bool:
        if self.used[name] >= self.most.get(name, 1000):
            return False
        self.used[name] += 1
        return True

    def leave(self, name: str) -> None:
        self.used[name] -= 1


def gate(most: int, waiting: int = 100, seconds: float = 30, **bounds: int) -> tuple[Gate, Bounds]:
    limits = Bounds(**bounds)
    return Gate(most, waiting, seconds, limits.enter, limits.leave), limits


async def entering(gate: Gate, *names: str) -> list[asyncio.Task[None]]:
    """A task for each name; all have done what they can without waiting."""
    tasks = [asyncio.create_task(gate.enter(name)) for name in names]
    await settle()
    return tasks


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def entered(tasks: list[asyncio.Task[None]]) -> list[bool]:
    return [task.done() and not task.cancelled() and not task.exception() for task in tasks]


async def test_so_many_are_let_in_and_the_next_when_one_leaves() -> None:
    door, _ = gate(2)
    tasks = await entering(door, "a", "a", "a")
    assert entered(tasks) == [True, True, False]
    assert (door.inside, door.waiting) == (2, 1)
    door.leave("a")
    await settle()
    assert entered(tasks) == [True, True, True]
    assert (door.inside, door.waiting) == (2, 0)


async def test_keys_take_turns_however_many_of_one_wait() -> None:
    door, _ = gate(1)
    await door.enter("flood")
    flood = await entering(door, *["flood"] * 20)
    other = await entering(door, "other", "other")
    order = []
    for _ in range(4):
        before = entered(flood + other)
        door.leave("any")
        await settle()
        new = [now and not then for now, then in zip(entered(flood + other), before, strict=True)]
        order.append("flood" if new.index(True) < 20 else "other")
    assert order == ["flood", "other", "flood", "other"]


async def test_a_key_at_its_own_bound_holds_up_nobody() -> None:
    door, _ = gate(10, a=1)
    tasks = await entering(door, "a", "a", "b", "b")
    assert entered(tasks) == [True, False, True, True]


async def test_a_key_at_its_own_bound_goes_on_when_another_worker_lets_one_go() -> None:
    door, bounds = gate(10, a=1)
    bounds.used["a"] = 1  # in another worker
    (task,) = await entering(door, "a")
    bounds.leave("a")
    async with asyncio.timeout(5):
        await task


async def test_the_fuller_the_queue_the_fewer_places_for_each_key() -> None:
    door, _ = gate(1, waiting=8)
    await door.enter("flood")
    flood = await entering(door, *["flood"] * 20)
    assert [task.done() for task in flood].count(False) == 4
    other = await entering(door, *["other"] * 20)
    assert [task.done() for task in other].count(False) == 2
    third = await entering(door, "third")
    assert not third[0].done()
    with pytest.raises(QueueFull):
        await flood[-1]
    assert door.waiting == 7


async def test_nobody_waits_for_longer_than_is_allowed() -> None:
    door, _ = gate(1, seconds=0.01)
    await door.enter("a")
    with pytest.raises(QueueFull):
        await door.enter("a")
    assert (door.inside, door.waiting) == (1, 0)


async def test_whoever_leaves_the_queue_leaves_no_gap() -> None:
    door, bounds = gate(1)
    await door.enter("a")
    first, second = await entering(door, "a", "a")
    first.cancel()
    await settle()
    assert door.waiting == 1
    door.leave("a")
    await settle()
    assert entered([second]) == [True]
    second_gone, third = await entering(door, "a", "a")
    door.leave("a")
    second_gone.cancel()  # in the moment of its turn
    await settle()
    assert entered([third]) == [True]
    door.leave("a")
    assert (door.inside, door.waiting, bounds.used["a"]) == (0, 0, 0)


async def test_with_no_queue_all_others_are_refused_at_once() -> None:
    door, _ = gate(1, waiting=0)
    await door.enter("a")
    with pytest.raises(QueueFull):
        await door.enter("b")
