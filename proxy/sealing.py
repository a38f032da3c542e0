"""Seals bytes into text that only holders of the same key can make or open."""

from __future__ import annotations

import base64
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32

# The first byte of what is sealed, for a format that may come after this one.
_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16


class NotSealed(ValueError):
    """This text was not sealed here, or not for this context. Why is nobody's business."""


class Seal:
    """AES-256-GCM under one key of ``KEY_BYTES``. What it seals is secret and cannot be changed."""

    def __init__(self, key: bytes) -> None:
        """Raises ``ValueError`` for a key of another size."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key has {len(key)} bytes, not {KEY_BYTES}")
        self._cipher = AESGCM(key)

    def seal(self, content: bytes, *context: str) -> str:
        """``content`` as letters that are safe in a URL; it opens in the same context alone."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, content, _associated(context))
        return _encode(_VERSION + nonce + sealed)

    def open(self, sealed: str, *context: str) -> bytes:
        """What was sealed in this context. Raises ``NotSealed``."""
        data = _decode(sealed)
        if len(data) < len(_VERSION) + _NONCE_BYTES + _TAG_BYTES or not data.startswith(_VERSION):
            raise NotSealed
        nonce, rest = data[1 : 1 + _NONCE_BYTES], data[1 + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, rest, _associated(context))
        except InvalidTag:
            raise NotSealed from None


def shared_key(path: Path) -> bytes:
    """The key in a file, made now if there is none. Raises ``OSError`` and ``ValueError``.

    Of processes that come at the same time, one makes it, whole at once and for its owner alone,
    and all read the same.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_key(path)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} holds {len(key)} bytes, not a key of {KEY_BYTES}")
    return key


def _make_key(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())  # a host that crashes now must not leave an empty key
        with suppress(FileExistsError):  # another process was first
            path.hardlink_to(temporary)
    finally:
        temporary.unlink()


def _associated(context: tuple[str, ...]) -> bytes:
    # As JSON, no two contexts come to the same bytes.
    return _VERSION + json.dumps(context).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise NotSealed from None
    # Python takes other spellings of the same bytes, too.
    if _encode(data) != text:
        raise NotSealed
    return data
