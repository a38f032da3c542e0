"""What pytest has to know of test hosts: their image, and what was played on them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.testhost.image import Image
from tests.testhost.image import image as built_image
from tests.testhost.machine import install_tools, why_not
from tests.testhost.playbook import recaps

_recaps_of_workers: list[str] = []


@pytest.fixture(scope="session")
def image() -> Image:
    """What `Host` boots."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    install_tools()
    return built_image()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the image now if a test wants it, and say how far it is.

    A worker of pytest-xdist, whose output nobody sees, builds it when it comes to its first host,
    while the other one runs other tests.
    """
    wanted = any("image" in getattr(item, "fixturenames", ()) for item in session.items)
    config = session.config
    if not wanted or config.option.collectonly or hasattr(config, "workerinput"):
        return
    if why_not() is None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        install_tools()
        built_image(say=print if reporter is None else reporter.write_line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands its plays over."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["recaps"] = [str(recap) for recap in recaps]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended: take its plays."""
    _recaps_of_workers.extend(getattr(node, "workeroutput", {}).get("recaps", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show how each play went."""
    lines = [str(recap) for recap in recaps] + _recaps_of_workers
    if lines:
        terminalreporter.section("plays on test hosts")
    for line in lines:
        terminalreporter.write_line(line)
