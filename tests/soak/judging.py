"""Says of an answer whether it is right, a refusal, told not to be whole, or a broken promise."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from botocore.eventstream import ChecksumMismatch, EventStreamBuffer

from tests.soak.questions import Form, Question

_ERROR_EVENT = b'data: {"error":'


class Outcome(Enum):
    """What came of a request."""

    RIGHT = "right"  # whole, and right byte for byte
    REFUSED = "refused"  # with a status, and a word why
    CUT = "told cut"  # begun, right so far, and the client was told that it is not whole
    LEFT = "left"  # by the client
    BROKEN = "broken"  # a promise


@dataclass(frozen=True)
class Received:
    """An answer as far as it came; `whole` is what its connection says."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool


def judge(question: Question, received: Received) -> tuple[Outcome, str]:
    """Return what it is, and why it is broken."""
    if received.status != 200:
        return _judge_refusal(question, received)
    try:
        body, tells_failure = _read(question.form, received.body)
    except ChecksumMismatch as exc:
        return Outcome.BROKEN, f"a frame is not what it was: {exc}"
    if tells_failure or not received.whole:
        if not question.may_be_cut:
            return Outcome.BROKEN, f"cut after {len(body)} of {len(question.right)} bytes"
        if not question.right.startswith(body):
            return Outcome.BROKEN, "wrong even before it was cut"
        return Outcome.CUT, ""
    if body != question.right:
        shown = f"{body[-200:]!r} in place of {question.right[-200:]!r}"
        return Outcome.BROKEN, f"passes for whole, and is not: it ends with {shown}"
    return Outcome.RIGHT, ""


def _judge_refusal(question: Question, received: Received) -> tuple[Outcome, str]:
    if received.status not in question.excused:
        return Outcome.BROKEN, f"status {received.status}: {received.body[:300]!r}"
    if not received.whole or not _says_why(received.body):
        return Outcome.BROKEN, f"status {received.status} without a word why"
    if received.status == 429 and "Retry-After" not in received.headers:
        return Outcome.BROKEN, "429 without Retry-After"
    return Outcome.REFUSED, ""


def _says_why(body: bytes) -> bool:
    try:
        told = json.loads(body)
    except ValueError:
        return False
    # SageMaker's own throttling has no words: {"message": null}.
    return isinstance(told, dict) and bool(told.keys() & {"error", "message", "Message"})


def _read(form: Form, body: bytes) -> tuple[bytes, bool]:
    """Return the model's own bytes, and whether a failure is told behind them."""
    if form is Form.FRAMES:
        return _read_frames(body)
    if form is Form.EVENTS:
        at = body.rfind(_ERROR_EVENT)
        starts_an_event = at == 0 or body[at - 2 : at] == b"\n\n"
        if at >= 0 and starts_an_event and body.endswith(b"\n\n") and b"\n\n" not in body[at:-2]:
            return body[:at], True
    return body, False


def _read_frames(body: bytes) -> tuple[bytes, bool]:
    frames = EventStreamBuffer()
    frames.add_data(body)
    payload = b""
    for frame in frames:
        if frame.headers[":message-type"] == "exception":
            return payload, True
        payload += frame.payload
    return payload, False
