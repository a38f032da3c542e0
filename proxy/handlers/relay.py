"""A model's answer on its way to the client: whole, as server-sent events, or as it comes."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar, TypeVar, cast

from proxy.answer import Answer
from proxy.dialects import openai
from proxy.dialects.base import Usage
from proxy.errors import InvalidRequest, ModelNotFound, ModelNotReady, ProxyError
from proxy.handlers.base import JSON, BaseHandler
from proxy.keys import Caller
from proxy.log import log_fields
from proxy.models import Target
from proxy.patience import Wait
from proxy.sagemaker import Invocation

T = TypeVar("T")

logger = logging.getLogger(__name__)

_FLUSH_BYTES = 64 * 1024

# A shorter wait is none.
_SHOWN_SECONDS = 0.001

# No model has a longer name; what the log shows of one that there is not is bounded.
_MODEL_CHARACTERS = 128

# What a call says of itself beside its body. Which deployment it is for is in the body.
_CALL_HEADERS = frozenset(
    f"x-amzn-sagemaker-{name}"
    for name in (
        "custom-attributes",
        "enable-explanations",
        "inference-id",
        "prefix-aware-id",
        "session-id",
        "target-container-hostname",
        "target-model",
        "target-variant",
    )
)
ANSWER_HEADERS = (
    "x-amzn-invoked-production-variant",
    *(
        f"x-amzn-sagemaker-{name}"
        for name in ("custom-attributes", "new-session-id", "closed-session-id")
    ),
)


class RelayHandler(BaseHandler):
    """A route that calls a model."""

    methods: ClassVar[tuple[str, ...]] = ("POST",)

    # What to write when an answer fails after its first byte; None: cut the connection.
    late_ending: Callable[[ProxyError], bytes] | None = None

    _waits = False  # or has waited for its model to wake

    async def serve(self, *path: str) -> None:
        """Answer within the limits of the key. Raises ``RateLimited`` and ``Overloaded``."""
        limits, caller = self.services.limits, cast(Caller, self.caller)  # no such route is public
        for name, value in (await limits.take(caller)).items():
            self.set_header(name, value)
        began = time.monotonic()
        await limits.enter(caller)
        try:
            if (queued := time.monotonic() - began) > _SHOWN_SECONDS:
                self.log_details["queued_milliseconds"] = round(queued * 1000, 1)
            await self.respond(*path)
        finally:
            limits.gate.leave(caller.name)
            if self._waits:
                self.services.figures.wait_ended(caller.name, self.model or "")

    async def route_by_body(self) -> tuple[list[Target], bytes, bool]:
        """Where the body's ``model`` leads to, the body, and whether to stream the answer.

        Raises ``InvalidRequest`` and ``ModelNotFound``.
        """
        body = self.take_body()
        routing = openai.read_routing(body)
        return await self.targets_of(routing.model), body, routing.stream

    async def targets_of(self, model: str) -> list[Target]:
        """Where the model that the client names leads to. Raises ``ModelNotFound``."""
        self.model = model[:_MODEL_CHARACTERS]
        self.check_access(model)
        targets = await self.services.models.targets(model)
        if not targets:
            raise ModelNotFound(model)
        return targets

    def new_wait(self, beat: Callable[[], Awaitable[None]] | None = None) -> Wait:
        """The request's waiting for its model to wake, which its key's figures are to show."""
        return Wait(beat, self._note_waiting)

    def _note_waiting(self) -> None:
        if not self._waits:
            self._waits = True
            self.services.figures.wait_began(self.caller_name, self.model or "")

    async def call_first(
        self, targets: list[Target], call: Callable[[Target, Wait | None], Awaitable[T]], wait: Wait
    ) -> T:
        """What ``call`` makes of the first target that does not fail.

        ``call`` gets ``wait`` only if there is no other target left: one that is not awake is
        waited for when all the others have failed, too.
        """
        failed: dict[Target, ProxyError] = {}
        try:
            for target in targets if len(targets) > 1 else ():
                try:
                    return self.served_by(target, await call(target, None))
                except ProxyError as error:
                    # Another target may do what this dialect can't, but not what the client wants
                    # of the first: its own error is the answer.
                    is_dialects = isinstance(error, InvalidRequest) and error.refusal is None
                    if not (
                        isinstance(error, ModelNotFound)
                        or error.status >= 500
                        or (failed and is_dialects)
                    ):
                        raise
                    self.log_failed_target(target, error)
                    error.__traceback__ = None  # whose frames hold it
                    failed[target] = error
            for target in targets:
                if not failed or isinstance(failed[target], ModelNotReady):
                    return self.served_by(target, await call(target, wait))
            # What has failed tells more than what is not there.
            raise min(failed.values(), key=lambda error: error.status < 500)
        finally:
            failed.clear()  # each holds what it was raised in
            if wait.seconds:
                self.log_details["waited_milliseconds"] = round(wait.seconds * 1000, 1)

    def served_by(self, target: Target, result: T) -> T:
        """Tell client and log which deployment has answered, where that is not the model itself."""
        if target.name != self.model:
            self.set_header("X-Served-By", target.name)
            self.log_details["served_by"] = target.name
        return result

    def log_failed_target(self, target: Target, error: ProxyError) -> None:
        """Log that the next one has to answer."""
        fields = {"request_id": self.request_id, "model": self.model, "deployment": target.name}
        reason = error.log_message or error.message
        log_fields(logger, logging.WARNING, "falling back", reason=reason, **fields)

    async def relay(self, answer: Answer, header_prefixes: tuple[str, ...] = ()) -> None:
        """Pass on a whole answer, in pieces when it is long."""
        async with answer:
            self.set_status(answer.status)
            self.set_header("Content-Type", "application/octet-stream")  # if it names none
            self.copy_headers(answer, ("content-type", "content-length", *header_prefixes))
            tail, unsent = b"", 0
            async for chunk in answer.chunks():
                tail = (tail + chunk)[-openai.USAGE_TAIL_BYTES :] if tail else chunk
                self.write(chunk)
                unsent += len(chunk)
                if unsent >= _FLUSH_BYTES:
                    await self.flush()
                    unsent = 0
            self.note_usage(openai.read_usage(tail))

    async def relay_pieces(
        self, pieces: AsyncIterator[bytes], content_type: str, first: bytes | None = None
    ) -> None:
        """Pass on pieces as they come, behind a ``first``. What arrives together is sent together.

        Nothing is sent before the first piece is here, so that a failure until then still gets a
        status of its own.
        """
        self.begin_stream(content_type)
        if first:
            self.write(first)
            await self.flush()
        async for piece in pieces:
            self.write(piece)
            await self.flush()

    def begin_stream(self, content_type: str) -> None:
        """Make ready to send an answer as it comes."""
        self.count_stream()
        self.set_header("Content-Type", content_type)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")

    def invocation_of(
        self, target: Target, body: bytes, wait: Wait | None, content_type: str = JSON
    ) -> Invocation:
        """The call of a target, with what the client's own headers say of it.

        ``content_type`` is what the body has proved to be, whatever the client says.
        """
        sent = self.request.headers
        headers = {name: sent[name] for name in sent if name in _CALL_HEADERS}
        for name, value in headers.items():
            if not value.isascii():
                raise InvalidRequest(f"the header {name} must be ASCII")
        headers["content-type"] = content_type
        if target.component:
            headers["x-amzn-sagemaker-inference-component"] = target.component
        if target.variant:
            headers["x-amzn-sagemaker-target-variant"] = target.variant
        return Invocation(target.endpoint, body, headers, wait)

    def copy_headers(self, answer: Answer, prefixes: tuple[str, ...]) -> None:
        """Copy those of the answer's headers whose lower-case name starts with a prefix."""
        self.answer = answer  # it is the one that is passed on, and the log tells its time
        for name, value in answer.headers.items():
            if name.startswith(prefixes):
                self.set_header(name, value)

    def note_usage(self, usage: Usage | None) -> None:
        """Count the tokens, if they are told, for the key's limit and for the access log."""
        if usage:
            caller, model = cast(Caller, self.caller), self.model or ""
            prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
            self.services.limits.count_tokens(caller, prompt + completion)
            self.services.metrics.tokens_used(model, caller.name, prompt, completion)
            self.services.figures.tokens_used(caller.name, model, prompt, completion)
            self.log_details["prompt_tokens"] = usage.prompt_tokens
            self.log_details["completion_tokens"] = usage.completion_tokens

    def fail_late(self, error: ProxyError) -> None:
        """End a stream that has begun in the way its protocol has for it."""
        if self.late_ending is None:
            super().fail_late(error)
        else:
            self.write(self.late_ending(error))
