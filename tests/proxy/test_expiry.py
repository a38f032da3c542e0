"""A certificate that is about to end is told of, again and again, and one that is not is not."""

import asyncio
import logging
import time

import pytest

from proxy import expiry

DAY = 86400


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pause(_seconds: float) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("proxy.expiry.asyncio.sleep", pause)


@pytest.mark.parametrize(
    ("days", "level", "message"),
    [
        (13, logging.WARNING, "the certificate is about to end"),
        (-1, logging.ERROR, "the certificate has ended"),
    ],
)
async def test_it_is_told_ahead_and_after(
    caplog: pytest.LogCaptureFixture, days: int, level: int, message: str
) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(expiry.watch(time.time() + days * DAY), 0.01)
    (record,) = caplog.records
    assert record.levelno == level
    assert record.getMessage().startswith(message)


async def test_long_before_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(expiry.watch(time.time() + 15 * DAY), 0.01)
    assert caplog.records == []


async def test_it_is_told_every_day(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    days = iter(range(30))
    monkeypatch.setattr("proxy.expiry.time.time", lambda: now)

    async def pass_day(seconds: float) -> None:
        nonlocal now
        assert seconds == DAY
        if next(days, None) is None:
            raise asyncio.CancelledError
        now += seconds

    monkeypatch.setattr("proxy.expiry.asyncio.sleep", pass_day)
    with pytest.raises(asyncio.CancelledError):
        await expiry.watch(now + 20.5 * DAY)
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.WARNING] * 14 + [logging.ERROR] * 10
