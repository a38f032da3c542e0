"""What unit tests share."""

from collections.abc import Iterator

import pytest
from prometheus_client import values


@pytest.fixture
def metrics_in_memory_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test has metrics count in files, which those after it must not."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    yield
    values.close_all_multiprocess_files()  # type: ignore[no-untyped-call]
