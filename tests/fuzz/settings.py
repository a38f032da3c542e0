"""No file of settings or keys gets the start to fail in a way of its own, or to repeat a hash."""

from __future__ import annotations

import json
import re
import tempfile
import tomllib
from pathlib import Path

from proxy import key_file
from proxy.config import ConfigError, effective, load
from proxy.key_file import KeyFileError

_HASH = re.compile(r"[0-9a-f]{64}")

_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))


def check(data: bytes) -> None:
    """Read the bytes as either file."""
    file = _FOLDER / "file.toml"
    file.write_bytes(data)
    try:
        json.dumps(effective(load(str(file), environ={})))
    except ConfigError as exc:
        str(exc).encode()
    try:
        keys = key_file.read(file)
    except KeyFileError as exc:
        problems = str(exc)
        assert not any(each in problems for each in _hashes(data))
    else:
        assert all(map(_HASH.fullmatch, keys))


def _hashes(data: bytes) -> set[str]:
    """Those that stand as a value, and not as a name, which a problem has to tell."""
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return set()
    names: set[str] = set()
    texts: set[str] = set()
    _walk(document, names, texts)
    return {text for text in texts if _HASH.fullmatch(text)} - names


def _walk(value: object, names: set[str], texts: set[str]) -> None:
    if isinstance(value, dict):
        names.update(value)
        for each in value.values():
            _walk(each, names, texts)
    elif isinstance(value, list):
        for each in value:
            _walk(each, names, texts)
    elif isinstance(value, str):
        texts.add(value)
