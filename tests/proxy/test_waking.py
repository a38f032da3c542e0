"""A model that is not awake is poked by one call; the others wait for that one."""

import asyncio

import pytest

from proxy import waking
from proxy.errors import (
    InvalidRequest,
    ModelNotReady,
    ProxyError,
    Throttled,
    UpstreamFailed,
)
from proxy.waking import Wait, Waking


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "_FIRST_PAUSE_SECONDS", 0.002)
    monkeypatch.setattr(waking, "_MOST_PAUSE_SECONDS", 0.01)


class Model:
    """Answers from a certain call on, and counts all calls."""

    def __init__(self, wakes_at: float = 10, then: ProxyError | None = None) -> None:
        self.calls = 0
        self.wakes_at = wakes_at
        self._then = then

    async def __call__(self) -> str:
        self.calls += 1
        await asyncio.sleep(0)
        if self.calls < self.wakes_at:
            raise ModelNotReady("llama")
        if self._then:
            raise self._then
        return "answer"


NEVER = float("inf")


async def call(state: Waking, model: Model, wait: Wait | None = None) -> str:
    return await state.call("llama", model, wait or Wait())


async def test_one_that_is_awake_is_called_once_and_nobody_waits() -> None:
    model, wait = Model(wakes_at=1), Wait()
    assert await call(Waking(1), model, wait) == "answer"
    assert (model.calls, wait.seconds) == (1, 0)


async def test_a_call_is_repeated_until_the_model_is_awake() -> None:
    model, wait = Model(wakes_at=4), Wait()
    assert await call(Waking(1), model, wait) == "answer"
    assert model.calls == 4
    assert wait.seconds > 0


async def test_those_who_come_later_wait_for_the_one_that_pokes() -> None:
    state, model = Waking(5), Model(wakes_at=8)
    first = asyncio.create_task(call(state, model))
    while model.calls < 2:
        await asyncio.sleep(0)
    others = [asyncio.create_task(call(state, model)) for _ in range(200)]
    assert await asyncio.gather(first, *others) == ["answer"] * 201
    assert model.calls == 8 + 200


async def test_when_the_one_that_pokes_leaves_another_one_does() -> None:
    state, model = Waking(5), Model(wakes_at=NEVER)
    tasks = [asyncio.create_task(call(state, model)) for _ in range(3)]
    while model.calls < 5:
        await asyncio.sleep(0)
    tasks[0].cancel()
    calls = model.calls
    while model.calls < calls + 3:
        await asyncio.sleep(0.001)
    model.wakes_at = 0
    assert await asyncio.gather(*tasks[1:]) == ["answer"] * 2


async def test_after_its_time_a_call_fails_and_others_go_on() -> None:
    state, model = Waking(0.1), Model(wakes_at=NEVER)
    first = asyncio.create_task(call(state, model))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(call(state, model))
    with pytest.raises(ModelNotReady):
        await first
    model.wakes_at = 0
    assert await second == "answer"


async def test_a_later_call_tries_anew() -> None:
    state = Waking(0.02)
    with pytest.raises(ModelNotReady):
        await call(state, Model(wakes_at=NEVER))
    model = Model(wakes_at=1)
    assert await call(state, model) == "answer"


@pytest.mark.parametrize("error", [InvalidRequest("no"), UpstreamFailed("no"), Throttled("no")])
async def test_another_error_reaches_its_caller(error: ProxyError) -> None:
    with pytest.raises(type(error)):
        await call(Waking(5), Model(wakes_at=3, then=error))


async def test_a_model_that_fails_is_still_poked_by_one_alone() -> None:
    state, model = Waking(5), Model(wakes_at=3, then=UpstreamFailed("broken"))
    results = await asyncio.gather(
        call(state, model), *(call(state, model) for _ in range(20)), return_exceptions=True
    )
    assert all(isinstance(result, UpstreamFailed) for result in results)
    assert model.calls <= 21 + 3 + 21


async def test_too_many_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "_MOST_WAITING", 3)
    state, model = Waking(5), Model(wakes_at=NEVER)
    waiting = [asyncio.create_task(call(state, model)) for _ in range(3)]
    while model.calls < 4:
        await asyncio.sleep(0)
    calls = model.calls
    with pytest.raises(ModelNotReady) as refused:
        await call(state, model)
    assert model.calls <= calls + 1
    assert refused.value.headers["Retry-After"]
    model.wakes_at = 0
    assert await asyncio.gather(*waiting) == ["answer"] * 3


async def test_models_do_not_wait_for_each_other() -> None:
    state = Waking(5)
    asleep = asyncio.create_task(call(state, Model(wakes_at=NEVER)))
    assert await state.call("other", Model(wakes_at=1), Wait()) == "answer"
    asleep.cancel()


async def test_both_who_pokes_and_who_waits_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "_BEAT_SECONDS", 0.01)
    state, model = Waking(5), Model(wakes_at=NEVER)
    beats = [0, 0]

    def beat(number: int) -> Wait:
        async def count() -> None:
            beats[number] += 1

        return Wait(count)

    waits = [beat(0), beat(1)]
    tasks = [asyncio.create_task(call(state, model, wait)) for wait in waits]
    while min(beats) < 3:
        await asyncio.sleep(0.001)
    model.wakes_at = 0
    await asyncio.gather(*tasks)
    for wait, count in zip(waits, beats, strict=True):
        assert wait.seconds >= 0.01 * count


async def test_a_beat_that_fails_ends_its_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "_BEAT_SECONDS", 0.01)

    async def client_is_gone() -> None:
        raise ConnectionError

    state, model = Waking(5), Model(wakes_at=NEVER)
    other = asyncio.create_task(call(state, model))
    with pytest.raises(ConnectionError):
        await call(state, model, Wait(client_is_gone))
    model.wakes_at = 0
    assert await other == "answer"
