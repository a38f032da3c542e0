"""The access keys that the emulated account knows."""

import threading
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Key:
    """An access key's secret, its session token if it is a temporary one, and its state."""

    secret: str
    token: str | None = None
    expired: bool = False


class CredentialTable:
    """Access keys by their id; safe to change from any thread."""

    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}
        self._lock = threading.Lock()

    def add(self, access_key: str, secret: str, token: str | None = None) -> None:
        """Make a key known, or change its secret and token."""
        with self._lock:
            self._keys[access_key] = Key(secret, token)

    def expire(self, access_key: str) -> None:
        """Let a key's session end."""
        with self._lock:
            self._keys[access_key] = replace(self._keys[access_key], expired=True)

    def remove(self, access_key: str) -> None:
        """Forget a key."""
        with self._lock:
            self._keys.pop(access_key, None)

    def get(self, access_key: str) -> Key | None:
        """Return a key, if it is known."""
        with self._lock:
            return self._keys.get(access_key)
