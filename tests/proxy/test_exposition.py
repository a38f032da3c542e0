"""The metrics are written out one reader at a time, off the loop, with what this worker knows."""

import asyncio
import threading

import pytest

from proxy import __version__, exposition
from proxy.exposition import Exposition, Facts
from proxy.metric_files import MetricFiles


@pytest.fixture
def written() -> Exposition:
    return Exposition(MetricFiles())


async def test_what_is_known_is_told_and_nothing_else(written: Exposition) -> None:
    text, content_type = await written.render("", Facts(1.5, None, 2e9))
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    assert lines == [
        f'sagemaker_proxy_build_info{{version="{__version__}"}} 1.0',
        "sagemaker_proxy_catalog_age_seconds 1.5",
        "sagemaker_proxy_certificate_expiry_timestamp_seconds 2e+09",
    ]
    text, _ = await written.render("", Facts(is_limits_backend_up=False))
    assert text.decode().endswith("\nsagemaker_proxy_limits_backend_up 0.0\n")
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"


async def test_one_at_a_time_and_not_on_the_loop(
    written: Exposition, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, most, threads = 0, 0, set()
    began, go_on = threading.Event(), threading.Event()

    def collect(self: object) -> list[object]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        threads.add(threading.current_thread())
        began.set()
        go_on.wait(10)
        under_way -= 1
        return []

    monkeypatch.setattr(exposition.Facts, "collect", collect)
    readers = [asyncio.create_task(written.render("", Facts())) for _ in range(5)]
    await asyncio.to_thread(began.wait, 10)
    readers.pop().cancel()
    go_on.set()
    await asyncio.gather(*readers)
    assert most == 1
    assert threading.current_thread() not in threads
