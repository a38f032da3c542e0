"""A model that is not awake is poked by one call; the others wait for that one."""

import asyncio
import gc
import weakref
from contextlib import suppress

import pytest

from proxy import patience, waking
from proxy.errors import (
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    ProxyError,
    Refusal,
    Throttled,
    UpstreamFailed,
)
from proxy.metrics import Metrics
from proxy.patience import Wait
from proxy.waking import Waking


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "_FIRST_PAUSE_SECONDS", 0.002)
    monkeypatch.setattr(waking, "_MOST_PAUSE_SECONDS", 0.01)


class Model:
    """Answers from a certain call on, and counts all calls."""

    def __init__(self, wakes_at: float = 10, then: ProxyError | None = None) -> None:
        self.calls = 0
        self.wakes_at = wakes_at
        self.then = then

    async def __call__(self) -> str:
        self.calls += 1
        await asyncio.sleep(0)
        if self.calls < self.wakes_at:
            raise ModelNotReady("llama")
        if self.then:
            raise self.then
        return "answer"


NEVER = float("inf")


async def call(state: Waking, model: Model, wait: Wait | None = None) -> str:
    return await state.call("llama", model, wait or Wait())


async def sleeping(state: Waking, model: Model) -> asyncio.Task[str]:
    """A call that waits already, for a model that is surely asleep."""
    task = asyncio.create_task(call(state, model))
    while model.calls < 2:
        await asyncio.sleep(0)
    return task


async def test_one_that_is_awake_is_called_once_and_nobody_waits() -> None:
    model, wait = Model(wakes_at=1), Wait()
    assert await call(Waking(1, Metrics()), model, wait) == "answer"
    assert (model.calls, wait.seconds) == (1, 0)


async def test_a_call_is_repeated_until_the_model_is_awake() -> None:
    model, wait = Model(wakes_at=4), Wait()
    assert await call(Waking(1, Metrics()), model, wait) == "answer"
    assert model.calls == 4
    assert wait.seconds > 0


async def test_those_who_come_later_wait_for_the_one_that_pokes() -> None:
    state, model = Waking(5, Metrics()), Model(wakes_at=8)
    first = asyncio.create_task(call(state, model))
    while model.calls < 2:
        await asyncio.sleep(0)
    others = [asyncio.create_task(call(state, model)) for _ in range(200)]
    assert await asyncio.gather(first, *others) == ["answer"] * 201
    assert model.calls == 8 + 200


async def test_when_the_one_that_pokes_leaves_another_one_does() -> None:
    state, model = Waking(5, Metrics()), Model(wakes_at=NEVER)
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
    state, model = Waking(0.1, Metrics()), Model(wakes_at=NEVER)
    first = asyncio.create_task(call(state, model))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(call(state, model))
    with pytest.raises(ModelNotReady):
        await first
    model.wakes_at = 0
    assert await second == "answer"


async def test_a_later_call_tries_anew() -> None:
    state = Waking(0.02, Metrics())
    with pytest.raises(ModelNotReady):
        await call(state, Model(wakes_at=NEVER))
    model = Model(wakes_at=1)
    assert await call(state, model) == "answer"


@pytest.mark.parametrize("error", [InvalidRequest("no"), UpstreamFailed("no"), Throttled("no")])
async def test_another_error_reaches_its_caller(error: ProxyError) -> None:
    with pytest.raises(type(error)):
        await call(Waking(5, Metrics()), Model(wakes_at=3, then=error))


async def test_an_error_of_the_models_own_shows_that_it_is_awake() -> None:
    broken = UpstreamFailed("broken", refusal=Refusal(424, "ModelError", b""))
    state, model = Waking(5, Metrics()), Model(wakes_at=NEVER)
    tasks = [await sleeping(state, model)]
    tasks += [asyncio.create_task(call(state, model)) for _ in range(50)]
    await asyncio.sleep(0)
    model.wakes_at, model.then = 0, broken
    assert await asyncio.gather(*tasks, return_exceptions=True) == [broken] * 51


async def test_a_connection_that_fails_shows_nothing() -> None:
    state, model = Waking(5, Metrics()), Model(wakes_at=NEVER)
    tasks = [await sleeping(state, model)]
    tasks += [asyncio.create_task(call(state, model)) for _ in range(3)]
    await asyncio.sleep(0)
    model.wakes_at, model.then = 0, UpstreamFailed("the connection broke")
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    model.then = None
    assert await asyncio.gather(*waiting) == ["answer"] * 3


async def test_one_refusal_is_no_reason_to_hold_up_others() -> None:
    state, model = Waking(5, Metrics()), Model(wakes_at=2)
    first = asyncio.create_task(call(state, model))
    while model.calls < 1:
        await asyncio.sleep(0)
    wait = Wait()
    assert await call(state, model, wait) == "answer"
    assert wait.seconds == 0
    assert await first == "answer"


async def test_nobody_waits_for_the_end_of_a_poke_that_is_not_refused() -> None:
    state, model, hangs = Waking(5, Metrics()), Model(wakes_at=NEVER), asyncio.Event()

    async def slow() -> str:
        model.calls += 1
        if model.calls < 3:
            raise ModelNotReady("llama")
        await hangs.wait()
        return "late"

    poking = asyncio.create_task(state.call("llama", slow, Wait()))
    while model.calls < 3:
        await asyncio.sleep(0)
    quick = Model(wakes_at=0)
    assert await asyncio.gather(*(call(state, quick) for _ in range(20))) == ["answer"] * 20
    assert not poking.done()
    hangs.set()
    assert await poking == "late"


async def test_clients_without_patience_find_out_that_a_model_is_awake() -> None:
    state, model = Waking(5, Metrics()), Model(wakes_at=NEVER)
    await sleeping(state, model)

    async def impatient() -> str:
        async with asyncio.timeout(0.008):  # less than the longest pause
            return await call(state, model)

    tasks: list[asyncio.Task[str]] = []
    model.wakes_at = 0
    async with asyncio.timeout(5):
        while not any(task.done() and not task.exception() for task in tasks):
            tasks.append(asyncio.create_task(impatient()))
            await asyncio.sleep(0.001)
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_it_may_take_thousands_of_pokes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "_FIRST_PAUSE_SECONDS", 0.0)
    assert await call(Waking(60, Metrics()), Model(wakes_at=1500)) == "answer"


class TestCallsThatDoNotWait:
    async def test_one_of_them_pokes_now_and_then(self) -> None:
        state, model = Waking(5, Metrics()), Model(wakes_at=NEVER)
        for _ in range(2):
            with pytest.raises(ModelNotReady):
                await state.call("llama", model, None)
        async with asyncio.timeout(5):
            while model.calls < 6:
                for _ in range(100):
                    calls = model.calls
                    with pytest.raises(ModelNotReady):
                        await state.call("llama", model, None)
                    assert model.calls <= calls + 1
                await asyncio.sleep(0.001)
        assert model.calls < 100

    async def test_they_see_that_it_is_awake(self) -> None:
        state, model = Waking(5, Metrics()), Model(wakes_at=3)
        answers = 0
        async with asyncio.timeout(5):
            while answers < 10:
                with suppress(ModelNotReady):
                    await state.call("llama", model, None)
                    answers += 1
                await asyncio.sleep(0.001)
        assert model.calls == 12


async def test_what_nobody_has_called_for_long_is_tried_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waking, "_STALE_SECONDS", -1000)
    state, model = Waking(5, Metrics()), Model(wakes_at=3)
    for _ in range(2):
        with pytest.raises(ModelNotReady):
            await state.call("llama", model, None)
    assert await state.call("llama", model, None) == "answer"


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "_MOST_SLEEPERS", 3)
    state, model = Waking(5, Metrics()), Model(wakes_at=NEVER)
    waiting = await sleeping(state, model)
    for name in "abcdef":
        with pytest.raises(ModelNotReady):
            await state.call(name, model, None)
    assert len(state) == 3
    model.wakes_at = 0
    assert await waiting == "answer"


async def test_no_request_is_kept_with_the_error_of_a_model_that_sleeps_on() -> None:
    class Body:
        pass

    bodies: list[weakref.ref[Body]] = []

    async def refuse() -> None:
        body = Body()
        bodies.append(weakref.ref(body))
        raise ModelNotReady("llama")

    state = Waking(0.01, Metrics())
    for _ in range(3):
        with suppress(ModelNotReady):
            await state.call("llama", refuse, Wait())
    gc.collect()
    assert len(state) == 1
    assert [body() for body in bodies] == [None] * len(bodies)


async def test_it_is_logged_once_that_a_model_is_asleep_and_once_that_it_is_awake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    state, model = Waking(5, Metrics()), Model(wakes_at=60)
    await asyncio.gather(*(call(state, model) for _ in range(50)))
    assert [record.message for record in caplog.records] == [
        "waiting for a model to wake",
        "a model is awake",
    ]


async def test_a_model_that_is_gone_is_not_awake(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    gone = ModelNotFound("llama", refusal=Refusal(400, "ValidationError", b""))
    with pytest.raises(ModelNotFound):
        await call(Waking(5, Metrics()), Model(wakes_at=3, then=gone))
    assert [record.message for record in caplog.records] == ["waiting for a model to wake"]


async def test_beats_go_on_while_a_poke_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_BEAT_SECONDS", 0.01)
    beaten, calls = asyncio.Event(), 0

    async def beat() -> None:
        if calls == 2:
            beaten.set()

    async def slow() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ModelNotReady("llama")
        await beaten.wait()
        return "answer"

    assert await Waking(5, Metrics()).call("llama", slow, Wait(beat)) == "answer"


async def test_too_many_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "_MOST_WAITING", 3)
    state, model = Waking(5, Metrics()), Model(wakes_at=NEVER)
    waiting = [asyncio.create_task(call(state, model)) for _ in range(3)]
    while model.calls < 4:
        await asyncio.sleep(0)
    late = [asyncio.create_task(call(state, model)) for _ in range(3)]
    await asyncio.wait(late, return_when=asyncio.FIRST_COMPLETED)
    refusals = [task.exception() for task in late if task.done()]
    assert len(refusals) >= 2  # the one that pokes has left its place
    assert all(isinstance(refusal, ModelNotReady) for refusal in refusals)
    model.wakes_at = 0
    await asyncio.gather(*waiting, *late, return_exceptions=True)
    assert [task.result() for task in waiting] == ["answer"] * 3


async def test_models_do_not_wait_for_each_other() -> None:
    state = Waking(5, Metrics())
    asleep = asyncio.create_task(call(state, Model(wakes_at=NEVER)))
    assert await state.call("other", Model(wakes_at=1), Wait()) == "answer"
    asleep.cancel()


async def test_both_who_pokes_and_who_waits_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_BEAT_SECONDS", 0.01)
    state, model = Waking(5, Metrics()), Model(wakes_at=NEVER)
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
        assert wait.seconds > 0.009 * count


async def test_a_beat_that_fails_ends_its_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_BEAT_SECONDS", 0.01)

    async def client_is_gone() -> None:
        raise ConnectionError

    state, model = Waking(5, Metrics()), Model(wakes_at=NEVER)
    other = asyncio.create_task(call(state, model))
    with pytest.raises(ConnectionError):
        await call(state, model, Wait(client_is_gone))
    model.wakes_at = 0
    assert await other == "answer"


async def test_what_comes_as_its_caller_leaves_is_closed() -> None:
    class Answer:
        closed = False

        def close(self) -> None:
            self.closed = True

    answer = Answer()

    async def attempt() -> Answer:
        caller.cancel()  # it is told when this has returned
        return answer

    caller = asyncio.create_task(patience.Patience(1, Wait()).during(attempt()))
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.sleep(0)
    assert answer.closed
