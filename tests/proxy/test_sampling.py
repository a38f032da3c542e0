"""A worker's open things are told as they are, and not any more when it ends."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from proxy import sampling
from proxy.gate import Gate
from proxy.handlers.services import WorkerState
from proxy.metrics import Metrics
from proxy.sampling import sample


async def test_what_is_open_and_how_late_the_loop_is(
    value_of: Callable[[Metrics], Callable[..., float | None]],
) -> None:
    metrics, state = Metrics(), WorkerState(connections=3, open_requests=2, open_streams=1)
    gate = Gate(1, 1, 1, lambda name: True, lambda name: None)
    value = value_of(metrics)
    sampler = asyncio.create_task(sample(metrics, state, gate))
    await asyncio.sleep(0)
    names = ("connections", "requests_open", "streams_open", "queued")
    assert [value(name) for name in names] == [3, 2, 1, 0]
    time.sleep(sampling._SECONDS + 0.3)  # noqa: ASYNC251 - the loop is held up
    while not (count := value("event_loop_lag_seconds_count")):
        await asyncio.sleep(0.01)
    assert count == 1
    late = value("event_loop_lag_seconds_sum")
    assert late is not None
    assert late >= 0.3
    sampler.cancel()
    with suppress(asyncio.CancelledError):
        await sampler
    assert [value(name) for name in names] == [0, 0, 0, 0]
