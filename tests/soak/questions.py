"""What clients ask in a soak, and the one right answer to each, as its container gives it."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import requests

from tests.emulator.emulator import Emulator

STEADY, SHAKY = "steady", "shaky"  # endpoints: those that are well, and those that are made to fail

_VARIANTS = 8
_MOST_ECHOED_BYTES = 300_000

# What an endpoint that fails may be answered with: SageMaker's own status on its own paths.
_FAILURES = frozenset({400, 403, 404, 424, 429, 500, 502, 503, 504, 530})
_JSON = {"Content-Type": "application/json"}


class Form(Enum):
    """How an answer is written, and so how it tells that it is not whole."""

    WHOLE = "one body"
    EVENTS = "server-sent events"
    FRAMES = "AWS's event stream"


@dataclass(frozen=True)
class Question:
    """A request, the bytes that are right, and the statuses that are excused in their place."""

    kind: str
    path: str
    body: bytes = field(repr=False)
    right: bytes = field(repr=False)
    form: Form = Form.WHOLE
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON)
    excused: frozenset[int] = frozenset()
    may_be_cut: bool = False

    def of(self, kind: str, excused: frozenset[int]) -> "Question":
        """The same, where it may be refused."""
        return replace(self, kind=kind, excused=excused)


def all_questions(emulator: Emulator) -> dict[str, list[Question]]:
    """Return variants of each kind; the containers are asked directly for what is right."""
    rng = random.Random("soak")
    questions: dict[str, list[Question]] = {}
    for state in (STEADY, SHAKY):
        for _ in range(_VARIANTS):
            for each in _variants(emulator, state, rng):
                questions.setdefault(each.kind, []).append(each)
    plain = questions["chat"]
    questions["limited"] = [each.of("limited", frozenset({429})) for each in plain]
    return questions


def _variants(emulator: Emulator, state: str, rng: random.Random) -> Iterator[Question]:
    chat, echo, csv = (f"{state}-{what}" for what in ("chat", "echo", "csv"))
    may_fail = state == SHAKY
    prefix = f"{SHAKY} " if may_fail else ""
    excused = _FAILURES if may_fail else frozenset[int]()

    def question(kind: str, path: str, asked: str, body: bytes, **how: Any) -> Question:
        headers = how.get("headers", _JSON)
        right = _ask_container(emulator.container_url(asked), body, headers)
        how |= {"excused": excused, "may_be_cut": may_fail}
        return Question(prefix + kind, path, body, right, **how)

    said = {"model": chat, "messages": [{"role": "user", "content": _words(rng)}]}
    plain = json.dumps(said).encode()
    # Without the client's own wish, the proxy would have the container tell the usage.
    usage = {"stream_options": {"include_usage": True}}
    streamed = json.dumps({**said, "stream": True, **usage}).encode()
    yield question("chat", "/v1/chat/completions", chat, plain)
    yield question("stream", "/v1/chat/completions", chat, streamed, form=Form.EVENTS)
    native = f"/endpoints/{chat}/invocations-response-stream"
    yield question("frames", native, chat, streamed, form=Form.FRAMES)
    row = ",".join(str(rng.randint(0, 99)) for _ in range(4)).encode()
    rows = b"\n".join([row] * rng.randint(1, 20))
    path = f"/endpoints/{csv}/invocations"
    yield question("csv", path, csv, rows, headers={"Content-Type": "text/csv"})
    some = rng.randbytes(rng.choice((10, 5_000, _MOST_ECHOED_BYTES)))
    headers = {"Content-Type": "application/octet-stream"}
    yield question("bytes", f"/endpoints/{echo}/invocations", echo, some, headers=headers)


def _words(rng: random.Random) -> str:
    words = ("rain", "köln", "雨", "why", "sky", "proxy", "blue", "🌧", "slow", "model")
    return " ".join(rng.choice(words) for _ in range(rng.randint(3, 30)))


def _ask_container(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    answer = requests.post(f"{url}/invocations", data=body, headers=dict(headers), timeout=60)
    answer.raise_for_status()
    return answer.content
