"""A network that every test host reaches, for what they share: the load balancer and the counts."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.testhost.claims import Claim, claim
from tests.testhost.nspawn import HELPERS


class Crossing:
    """An address of this machine that nobody else uses, so that its ports are free."""

    _claim: Claim

    def __enter__(self) -> Self:
        self._claim = claim()
        self._claim.network.create()
        self._claim.control_group.create(HELPERS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._claim.release()

    @property
    def address(self) -> str:
        """Where hosts and clients reach what runs here."""
        return self._claim.network.outside

    @property
    def directory(self) -> Path:
        """For its files; its path is short."""
        return self._claim.directory

    def start(self, command: Sequence[str], **popen: Any) -> subprocess.Popen[Any]:
        """Start a process that ends with it, if not before."""
        line = self._claim.control_group.command(HELPERS, command)
        return subprocess.Popen(line, **popen)
