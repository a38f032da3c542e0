"""An AWS account, once a module, and what is run against it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloudformation.cloud import Cloud
from tests.cloudformation.commands import Aws, Stack


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud() as cloud:
        yield cloud


@pytest.fixture
def fresh(cloud: Cloud) -> Cloud:
    """The account as if nothing had been done in it."""
    cloud.reset()
    return cloud


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def aws(fresh: Cloud, home: Path) -> Aws:
    return Aws(fresh.environment(home))


@pytest.fixture
def play(fresh: Cloud, home: Path) -> Stack:
    return Stack(fresh.environment(home), home)
