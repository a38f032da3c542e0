"""What each key has done with each model, for the key's holder: a file of each worker's own.

The files are in the folder that all workers share, named by the worker's column. A column outlives
its worker: the next one goes on counting where that ended.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from proxy.labels import UNKNOWN

logger = logging.getLogger(__name__)

_FOLDER = "figures"
_WRITE_SECONDS = 1.0

# Over the life of the service, which is that of the files. What came first gives way.
MOST_ROWS = 5000


class Row(msgspec.Struct):
    """One key's use of one model, since the service started but for what is of this moment."""

    requests: int = 0
    client_errors: int = 0  # 4xx
    server_errors: int = 0  # 5xx
    streams: int = 0  # streamed answers, of which each has had a first token
    first_token_seconds: float = 0.0  # of all of them together
    prompt_tokens: int = 0
    completion_tokens: int = 0
    waking: int = 0  # that wait now for the model to wake


Rows = dict[str, dict[str, Row]]  # by key and model


class Figures:
    """One worker's. No call but ``keep_written`` does more than count in memory."""

    def __init__(
        self, shared: Path, column: int, knows: Callable[[str], bool] = lambda model: True
    ) -> None:
        """``column`` is nobody else's while this worker runs; ``knows`` tells of a model's name."""
        self.folder = shared / _FOLDER
        self._file = self.folder / f"{column}.json"
        self._knows = knows
        self._rows = _resume(self._file)
        self._number = sum(map(len, self._rows.values()))
        self._changed = bool(self._rows)  # nobody waits any more
        self._writing = threading.Lock()

    def request_ended(
        self, key: str, model: str, status: int, first_token_seconds: float | None
    ) -> None:
        """A request has been answered; ``first_token_seconds`` if its answer was streamed."""
        row = self._find(key, model, answered=status < 400)
        row.requests += 1
        if status >= 500:
            row.server_errors += 1
        elif status >= 400:
            row.client_errors += 1
        elif first_token_seconds is not None:
            row.streams += 1
            row.first_token_seconds += first_token_seconds

    def tokens_used(self, key: str, model: str, prompt: int, completion: int) -> None:
        """An answer has told what it cost."""
        row = self._find(key, model, answered=True)
        row.prompt_tokens += prompt
        row.completion_tokens += completion

    def wait_began(self, key: str, model: str) -> None:
        """A request waits for the model to wake."""
        self._find(key, model, answered=True).waking += 1

    def wait_ended(self, key: str, model: str) -> None:
        """It waits no more."""
        row = self._find(key, model, answered=True)
        row.waking = max(row.waking - 1, 0)

    async def of_key(self, key: str) -> dict[str, Row]:
        """What all workers have counted of a key, by model. Raises ``OSError``."""
        return await asyncio.to_thread(_read, self.folder, key)

    async def keep_written(self) -> None:
        """Write what has changed every second until cancelled, and then once more."""
        failed = False
        try:
            while True:
                await asyncio.sleep(_WRITE_SECONDS)
                if not self._changed:
                    continue
                self._changed = False
                content = msgspec.json.encode(self._rows)
                try:
                    await asyncio.to_thread(self._write, content)
                    failed = False
                except OSError as exc:
                    if not failed:
                        logger.error("the console's figures cannot be written: %s", exc)
                    failed = self._changed = True
        finally:
            try:
                self._write(msgspec.json.encode(self._rows))
            except OSError as exc:
                logger.error("the console's figures cannot be written: %s", exc)

    def _find(self, key: str, model: str, *, answered: bool) -> Row:
        self._changed = True
        rows = self._rows.get(key)
        if rows is not None and (row := rows.get(model)) is not None:
            return row
        if not (answered or self._knows(model)):
            model = UNKNOWN  # of which a client can make up any number
        while self._number >= MOST_ROWS:
            self._number -= len(self._rows.pop(next(iter(self._rows))))
        rows = self._rows.setdefault(key, {})
        if model not in rows:
            rows[model] = Row()
            self._number += 1
        return rows[model]

    def _write(self, content: bytes) -> None:
        with self._writing:  # the last time may come before the one before it has ended
            self.folder.mkdir(mode=0o700, exist_ok=True)
            new = self._file.with_suffix(".new")
            new.write_bytes(content)
            new.replace(self._file)


def _resume(file: Path) -> Rows:
    """What the worker before has counted, none if that cannot be read."""
    try:
        rows = msgspec.json.decode(file.read_bytes(), type=Rows)
    except (OSError, msgspec.MsgspecError):
        return {}
    for of_key in rows.values():
        for row in of_key.values():
            row.waking = 0
    return rows


def _read(folder: Path, key: str) -> dict[str, Row]:
    total: dict[str, Row] = {}
    for file in sorted(folder.glob("*.json")):
        by_key = msgspec.json.decode(file.read_bytes(), type=dict[str, msgspec.Raw])
        if key not in by_key:
            continue
        for model, row in msgspec.json.decode(by_key[key], type=dict[str, Row]).items():
            total[model] = _add(total.get(model, Row()), row)
    return total


def _add(one: Row, other: Row) -> Row:
    return Row(*(getattr(one, name) + getattr(other, name) for name in Row.__struct_fields__))
