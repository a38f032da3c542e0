"""Settings of whoever runs the tests stay out of them, and test hosts are known to all."""

import pytest

from tests.emulator.isolation import forget_aws_settings
from tests.testhost.fixtures import (
    image,
    pytest_collection_finish,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)

__all__ = [
    "image",
    "pytest_collection_finish",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_testnodedown",
]

forget_aws_settings()

_SLOWEST_FIRST = ("tests/provisioning/", "tests/testhost/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, each file is one's own unless it says otherwise; the slowest begin."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: not item.nodeid.startswith(_SLOWEST_FIRST))
