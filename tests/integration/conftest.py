"""An embedded SageMaker and a proxy in front of it, once a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.cloudformation.permissions import may
from tests.cloudformation.template import resolve
from tests.emulator.asynchronous import OUTPUT_BUCKET
from tests.emulator.containers import chat
from tests.emulator.demo import demo_endpoints
from tests.emulator.emulator import Emulator
from tests.integration.running import RunningProxy

# Bounds short enough to be reached in a test.
QUICK = """
region = "us-east-1"
[upstream]
retries = 2
connect_timeout_seconds = 2
read_timeout_seconds = 2
wake_timeout_seconds = 1.5
[catalog]
refresh_seconds = 3600
"""


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        demo_endpoints(emulator, token_delay=0)
        emulator.add_endpoint("slow-chat", chat.application(("slow-chat",), token_delay=0.02))
        yield emulator
        stack = resolve(AsyncBucket=OUTPUT_BUCKET)
        used = emulator.permissions_used()
        assert [pair for pair in used if not may(stack, *pair)] == [], "the role may not do this"


@pytest.fixture(autouse=True)
def no_faults_left(request: pytest.FixtureRequest) -> Iterator[None]:
    if "emulator" in request.fixturenames:
        emulator: Emulator = request.getfixturevalue("emulator")
        yield
        emulator.clear_faults()
    else:
        yield


@pytest.fixture(scope="module")
def proxy(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory: Path = tmp_path_factory.mktemp("proxy")
    with RunningProxy(directory, emulator.environment(), QUICK) as proxy:
        yield proxy


@pytest.fixture
def session(proxy: RunningProxy) -> Iterator[requests.Session]:
    with proxy.session() as session:
        yield session
