"""Looks at a worker from time to time: how late its event loop is, and what is open."""

from __future__ import annotations

import asyncio

from proxy.gate import Gate
from proxy.handlers.services import WorkerState
from proxy.metrics import Metrics

_SECONDS = 0.5


async def sample(metrics: Metrics, state: WorkerState, gate: Gate) -> None:
    """Do so until cancelled; then nothing is open any more."""
    loop = asyncio.get_running_loop()
    try:
        while True:
            metrics.sampled(
                connections=state.connections,
                requests=state.open_requests,
                streams=state.open_streams,
                queued=gate.waiting,
            )
            due = loop.time() + _SECONDS
            await asyncio.sleep(_SECONDS)
            metrics.lagged(max(loop.time() - due, 0))
    finally:
        metrics.sampled(connections=0, requests=0, streams=0, queued=0)
