"""Settings of whoever runs the tests stay out of them, and test hosts are known to all."""

import pytest
from xdist.scheduler import LoadScopeScheduling

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

# Files whose tests share a host: with several workers, they go to the same one.
_HOSTS = {
    "tests/provisioning/test_check.py": "service",
    "tests/provisioning/test_operation.py": "service",
    "tests/provisioning/test_sandbox.py": "service",
    "tests/provisioning/test_site.py": "service",
    "tests/provisioning/test_api_keys.py": "other_service",
    "tests/provisioning/test_certificates.py": "other_service",
}
_SLOWEST_FIRST = ("tests/provisioning/", "tests/soak/", "tests/testhost/")


class _ByHost(LoadScopeScheduling):  # type: ignore[misc]
    """Deals out whole files, those that share a host together."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return _HOSTS.get(file, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """How pytest-xdist deals the tests out to its workers."""
    return _ByHost(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest begin, so that no worker is left with them at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(_SLOWEST_FIRST))
