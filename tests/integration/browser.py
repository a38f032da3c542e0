"""A real, headless Chromium, and pages of it whose every complaint is noticed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.testhost import machine


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's; the test is skipped where it is not to be had."""
    if missing := machine.provide("chromium", "chromium"):
        pytest.skip(missing)
    # Chromium's own sandbox is not for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        yield browser
        browser.close()


class Complaints:
    """What a page has complained of: script errors, what its policy forbids, failed loads."""

    def __init__(self, page: Page) -> None:
        self.seen: list[str] = []
        page.on("pageerror", lambda error: self.seen.append(f"script: {error}"))
        page.on("console", self._note)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.seen.append(message.text)

    def forget_status(self, status: int) -> None:
        """A test has had the proxy answer so, which Chromium notes each time; and it has noted."""
        told = [text for text in self.seen if f"responded with a status of {status} " in text]
        assert told, f"no answer has had the status {status}: {self.seen}"
        self.seen = [text for text in self.seen if text not in told]
