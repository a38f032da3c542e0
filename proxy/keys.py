"""Who calls: API keys, held as hashes only, and the callers they stand for."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_NAME = "default"

# A key is 36 characters; anything much longer is not worth hashing.
_MAX_KEY_LENGTH = 128

_NO_HASH = "0" * 64


class InvalidKeyFormat(ValueError):
    """A configured key is no UUID4. The message never repeats the key."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a key, by the key's name."""

    name: str


def new_key() -> str:
    """A fresh key: a random UUID4."""
    return str(uuid.uuid4())


def hash_key(key: str) -> str:
    """The SHA-256 of a key, in hex. A UUID4 has 122 random bits, so it needs no salt."""
    return hashlib.sha256(key.encode()).hexdigest()


def check_key(key: str) -> str:
    """Return ``key`` in its canonical lower case. Raises ``InvalidKeyFormat``."""
    try:
        parsed = uuid.UUID(key)
    except ValueError:
        parsed = None
    if parsed is None or parsed.version != 4 or str(parsed) != key.lower():
        raise InvalidKeyFormat(
            "the API key is not a UUID4; make one with: sagemaker-proxy new-key "
            "(or: python -m proxy new-key)"
        )
    return str(parsed)


class KeyRing:
    """Finds the caller of a key, in the same time whether it exists or not."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        """``callers`` maps each key's SHA-256 in hex to its caller."""
        self._callers = {sha256: (sha256, caller) for sha256, caller in callers.items()}

    @classmethod
    def of_single_key(cls, key: str) -> KeyRing:
        """A ring with one key, named ``default``. Raises ``InvalidKeyFormat``."""
        return cls({hash_key(check_key(key)): Caller(DEFAULT_NAME)})

    def find(self, key: str) -> Caller | None:
        """The caller of ``key``, or None.

        What is looked up is a hash that the client cannot steer, so the look-up's own timing says
        nothing about the keys; the last comparison is constant-time all the same.
        """
        if len(key) > _MAX_KEY_LENGTH:
            return None
        digest = hash_key(key.strip().lower())
        stored, caller = self._callers.get(digest, (_NO_HASH, None))
        return caller if hmac.compare_digest(stored, digest) else None
