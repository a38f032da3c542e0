"""Tells what is done now, and how long it has been done, on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_began = time.monotonic()


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say what begins; its time is added when it has ended."""
    began = time.monotonic()
    minutes, seconds = divmod(int(began - _began), 60)
    print(f"{minutes:3}:{seconds:02}  {text} …", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print(f" {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Write a line of its own."""
    print(f"        {text}", file=sys.stderr, flush=True)
