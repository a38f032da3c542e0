"""The key in the environment gives way to its hash, before there is anybody to see it."""

from __future__ import annotations

import ctypes
import os

from proxy.keys import check_key, hash_key


def hide_key() -> None:
    """Have ``API_KEY_SHA256`` in place of ``API_KEY``, here and in every process begun from here.

    What a process was begun with stays readable in ``/proc``, so it is overwritten there, too.
    Raises ``InvalidKeyFormat``.
    """
    if not (key := os.environ.get("API_KEY", "").strip()):
        return
    os.environ["API_KEY_SHA256"] = hash_key(check_key(key))
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    if there := getenv(b"API_KEY"):
        ctypes.memset(there, 0, len(os.fsencode(os.environ["API_KEY"])))
    del os.environ["API_KEY"]
