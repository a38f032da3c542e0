"""A model's answer on its way to the client: whole, as server-sent events, or as it comes."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

from proxy import sse
from proxy.dialects import openai
from proxy.errors import ModelNotFound, ProxyError, UpstreamFailed
from proxy.handlers.base import JSON, BaseHandler
from proxy.log import log_fields
from proxy.models import Target
from proxy.sagemaker import Answer, Invocation

logger = logging.getLogger(__name__)

_FLUSH_BYTES = 64 * 1024


class RelayHandler(BaseHandler):
    """A route that calls a model."""

    methods = ("POST",)

    # What to write when an answer fails after its first byte; None: cut the connection.
    _late_ending: Callable[[ProxyError], bytes] | None = None

    async def route_by_body(self) -> tuple[list[Target], bytes, bool]:
        """Where the body's ``model`` leads to, the body, and whether to stream the answer.

        Raises ``InvalidRequest`` and ``ModelNotFound``.
        """
        body = self.take_body()
        routing = openai.read_routing(body)
        self.model = routing.model[:100]
        self.check_access(routing.model)
        targets = await self.services.models.targets(routing.model)
        if not targets:
            raise ModelNotFound(routing.model)
        return targets, body, routing.stream

    async def call_first(self, targets: list[Target], body: bytes, *, stream: bool) -> Answer:
        """The answer of the first target that does not fail; the last one may be waited for."""
        sagemaker = self.services.sagemaker
        call = sagemaker.invoke_stream if stream else sagemaker.invoke
        for target in targets[:-1]:
            try:
                answer = await call(_invocation(target, body, waits=False))
            except ProxyError as error:
                if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
                self.log_failed_target(target, error)
            else:
                return self.served_by(target, answer)
        return self.served_by(targets[-1], await call(_invocation(targets[-1], body)))

    def served_by(self, target: Target, answer: Answer) -> Answer:
        """Tell client and log which deployment has answered, where that is not the model itself."""
        if target.name != self.model:
            self.set_header("X-Served-By", target.name)
            self.log_details["served_by"] = target.name
        return answer

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
            self.note_usage(tail)

    async def relay_events(self, answer: Answer) -> None:
        """Pass on a stream of server-sent events, each as soon as it is whole."""
        async with answer:
            content_type = answer.headers.get("X-Amzn-SageMaker-Content-Type", "")
            if "json" in content_type:
                await self.relay_pieces(answer.payloads(), content_type)
                return
            self._late_ending = _error_event
            await self.relay_pieces(self._whole_events(answer), "text/event-stream")

    async def relay_pieces(self, pieces: AsyncIterator[bytes], content_type: str) -> None:
        """Pass on pieces as they come. What arrives together is sent together.

        Nothing is sent before the first piece is here, so that a failure until then still gets a
        status of its own.
        """
        self.set_header("Content-Type", content_type)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")
        self.stream.set_nodelay(True)  # Tornado takes that back after each request
        async for piece in pieces:
            self.write(piece)
            await self.flush()

    async def _whole_events(self, answer: Answer) -> AsyncIterator[bytes]:
        splitter = sse.EventSplitter()
        try:
            async for payload in answer.payloads():
                if events := splitter.feed(payload):
                    self.note_usage(events)
                    yield events
        except sse.EventTooLarge as exc:
            raise UpstreamFailed("the model's stream has no events", log_message=str(exc)) from exc
        if rest := splitter.flush():
            yield rest

    def copy_headers(self, answer: Answer, prefixes: tuple[str, ...]) -> None:
        """Copy those of the answer's headers whose lower-case name starts with a prefix."""
        for name, value in answer.headers.items():
            if name.lower().startswith(prefixes):
                # The HTTP client reads bytes as UTF-8, Tornado writes them as Latin-1.
                self.set_header(name, value.encode(errors="surrogateescape").decode("latin-1"))

    def note_usage(self, data: bytes) -> None:
        """Keep the token counts for the access log, if ``data`` names them."""
        if usage := openai.read_usage(data):
            self.log_details["prompt_tokens"] = usage.prompt_tokens
            self.log_details["completion_tokens"] = usage.completion_tokens

    def fail_late(self, error: ProxyError) -> None:
        """End a stream that has begun in the way its protocol has for it."""
        if self._late_ending is None:
            super().fail_late(error)
        else:
            self.write(self._late_ending(error))


def _invocation(target: Target, body: bytes, *, waits: bool = True) -> Invocation:
    headers = {"Content-Type": JSON}  # which the body has proved to be, whatever the client says
    if target.component:
        headers["X-Amzn-SageMaker-Inference-Component"] = target.component
    if target.variant:
        headers["X-Amzn-SageMaker-Target-Variant"] = target.variant
    if target.model is not None:
        body = openai.with_model(body, target.model)
    return Invocation(target.endpoint, body, headers, waits)


def _error_event(error: ProxyError) -> bytes:
    return sse.event(json.dumps(error.to_openai()).encode())
