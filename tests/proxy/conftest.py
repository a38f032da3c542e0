"""What unit tests share."""

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from proxy.exposition import Counted
from proxy.metrics import Metrics

Value = Callable[..., float | None]


@pytest.fixture
def value_of() -> Callable[[Metrics], Value]:
    """Reads what Prometheus would, of one worker's metrics or of all whose files it shares."""

    def reader(metrics: Metrics) -> Value:
        def value(name: str, **labels: str) -> float | None:
            registry = CollectorRegistry()
            registry.register(Counted(metrics.files.read()))
            return registry.get_sample_value(f"sagemaker_proxy_{name}", labels)

        return value

    return reader
