"""Who calls: API keys, held as hashes only, and the callers they stand for."""

from __future__ import annotations

import hashlib
import hmac
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

DEFAULT_NAME = "default"

EVERY_MODEL = ("*",)

# A key is 36 characters; anything much longer is not worth hashing.
_MAX_KEY_LENGTH = 128

_NO_HASH = "0" * 64


class InvalidKeyFormat(ValueError):
    """A configured key is no UUID4. The message never repeats the key."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What the keys of one name may use together; 0: as much as they like."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0  # in prompts and answers
    max_concurrent: int = 0


NO_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a key, by the key's name, and what it may call."""

    name: str
    models: tuple[str, ...] = EVERY_MODEL  # patterns such as "embed-*"
    limits: KeyLimits = NO_LIMITS

    @property
    def may_call_all(self) -> bool:
        """Whether it may call every model that there is or will be."""
        return "*" in self.models

    def may_call(self, model: str) -> bool:
        """Whether a pattern of this caller takes in ``model``."""
        return self.models == EVERY_MODEL or any(
            fnmatchcase(model, pattern) for pattern in self.models
        )


@dataclass(frozen=True, slots=True)
class Key:
    """What a key stands for, and until when (seconds since the epoch)."""

    caller: Caller
    expires: float | None = None


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

    def __init__(self, keys: Mapping[str, Key]) -> None:
        """``keys`` has each key's SHA-256 in hex, and what it stands for."""
        self._keys = {sha256: (sha256, key) for sha256, key in keys.items()}

    def callers(self) -> dict[str, Caller]:
        """Every caller by its name."""
        return {key.caller.name: key.caller for _sha256, key in self._keys.values()}

    @classmethod
    def of_single_key(cls, key: str) -> KeyRing:
        """A ring with one key, named ``default``. Raises ``InvalidKeyFormat``."""
        return cls({hash_key(check_key(key)): Key(Caller(DEFAULT_NAME))})

    def __len__(self) -> int:
        """How many keys there are, expired ones included."""
        return len(self._keys)

    def find(self, key: str) -> Caller | None:
        """The caller of ``key``, or None if there is none or its time is over.

        What is looked up is a hash that the client cannot steer, so the look-up's own timing says
        nothing about the keys; the last comparison is constant-time all the same.
        """
        if len(key) > _MAX_KEY_LENGTH:
            return None
        digest = hash_key(key.strip().lower())
        stored, found = self._keys.get(digest, (_NO_HASH, None))
        if not hmac.compare_digest(stored, digest) or found is None:
            return None
        if found.expires is not None and found.expires <= time.time():
            return None
        return found.caller
