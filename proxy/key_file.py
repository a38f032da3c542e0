"""``keys.toml``: the keys by name, as hashes, with what each may do and until when."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from proxy.keys import EVERY_MODEL, Caller, Key, KeyLimits

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", re.ASCII)

LIMITS = tuple(item.name for item in fields(KeyLimits))

# What the counters can hold, and more than any model does.
_MOST = 1_000_000_000
_SETTINGS = ("sha256", "previous_sha256", "previous_expires", "models", "expires", *LIMITS)


class KeyFileError(ValueError):
    """The file cannot be used. ``problems`` holds every reason, one a line; no hash is repeated."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read(path: Path) -> dict[str, Key]:
    """Each key in ``path`` by its SHA-256 in hex.

    Raises ``KeyFileError`` with every problem at once.
    """
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as exc:
        raise KeyFileError([f"{path}: cannot be read: {exc.strerror}"]) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise KeyFileError([f"{path}: is not TOML: {exc}"]) from exc
    problems = [
        f"{name}: is no setting; keys are [keys.NAME]" for name in document if name != "keys"
    ]
    tables = document.get("keys", {})
    if not isinstance(tables, dict):
        problems.append("keys: must hold tables: [keys.NAME]")
        tables = {}
    keys: dict[str, Key] = {}
    for name, table in tables.items():
        entry = _Entry(name, table)
        for sha256, key in entry.read():
            if sha256 in keys:
                other = keys[sha256].caller.name
                twice = "twice" if other == name else f"that keys.{other} has, too"
                entry.problems.append(f"keys.{name}: has a key {twice}")
            keys[sha256] = key
        problems += entry.problems
    if problems:
        raise KeyFileError([f"{path}: {problem}" for problem in problems])
    return keys


class _Entry:
    """One ``[keys.NAME]``; what does not fit is added to ``problems``."""

    def __init__(self, name: str, table: Any) -> None:
        self.problems: list[str] = []
        self._prefix = f"keys.{name}"
        self._table: dict[str, Any] = table if isinstance(table, dict) else {}
        if self._table is not table:
            self.problems.append(f"{self._prefix}: must be a table")
        if not _NAME.fullmatch(name):
            self.problems.append(
                f"keys.{name!r}: a name has up to 63 letters, digits, and . _ @ - between them"
            )
        self._check_names()
        self._caller = Caller(name, self._models(), self._limits())

    def read(self) -> Iterator[tuple[str, Key]]:
        """Each SHA-256 with what it stands for."""
        current = self._hashes("sha256")
        if not self._table.get("sha256", []) and self._table:
            self._add("sha256", "is needed: the SHA-256 of the key, as hash-key prints it")
        expires = self._time("expires")
        for sha256 in current:
            yield sha256, Key(self._caller, expires)
        previous = self._hashes("previous_sha256")
        previous_expires = self._time("previous_expires")
        if bool(previous) != ("previous_expires" in self._table):
            self._add("previous_sha256", "goes with previous_expires: set both, or neither")
        ends = [end for end in (expires, previous_expires) if end is not None]
        for sha256 in previous:
            yield sha256, Key(self._caller, min(ends, default=None))

    def _add(self, setting: str, problem: str) -> None:
        self.problems.append(f"{self._prefix}.{setting}: {problem}")

    def _check_names(self) -> None:
        for name in self._table:
            if name not in _SETTINGS:
                close = difflib.get_close_matches(name, _SETTINGS, n=1)
                self._add(name, "is no setting" + (f"; did you mean {close[0]}?" if close else ""))

    def _limits(self) -> KeyLimits:
        limits = {name: self._table[name] for name in LIMITS if name in self._table}
        for name, value in limits.items():
            if type(value) is not int or not 0 < value <= _MOST:
                self._add(name, f"must be a whole number from 1 to {_MOST}, not {value!r}")
        return KeyLimits(**limits)

    def _models(self) -> tuple[str, ...]:
        value = self._table.get("models", list(EVERY_MODEL))
        if isinstance(value, list) and value and all(type(each) is str and each for each in value):
            return tuple(value)
        self._add("models", 'must be a list of names or patterns such as ["llama", "embed-*"]')
        return ()

    def _hashes(self, setting: str) -> list[str]:
        value = self._table.get(setting, [])
        hashes = [value] if isinstance(value, str) else value
        if isinstance(hashes, list) and all(
            isinstance(each, str) and _SHA256.fullmatch(each.lower()) for each in hashes
        ):
            return [each.lower() for each in hashes]
        self._add(setting, "must be a SHA-256 in hex (64 digits), or a list of them")
        return []

    def _time(self, setting: str) -> float | None:
        """A TOML date or time, as seconds since the epoch; without a zone it is UTC."""
        value = self._table.get(setting)
        if value is None:
            return None
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, date):
            return datetime.combine(value, time(), UTC).timestamp()
        self._add(
            setting, f"must be a date or a time without quotes, such as 2027-01-01, not {value!r}"
        )
        return None
