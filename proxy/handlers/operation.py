"""A route of OpenAI's: the body in the dialect of the container, its answer in OpenAI's shapes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

from proxy import sse
from proxy.answer import Answer
from proxy.dialects.assemble import ChatAssembler, as_stream
from proxy.dialects.base import Operation, Rendered, Stream, Whole
from proxy.dialects.openai import OpenAIStream
from proxy.dialects.table import DIALECTS
from proxy.errors import ProxyError, UpstreamFailed
from proxy.handlers.base import JSON
from proxy.handlers.relay import ANSWER_HEADERS, RelayHandler
from proxy.models import Target
from proxy.waking import Wait

_EVENTS = "text/event-stream; charset=utf-8"

# Of the calls that one request becomes, because its container takes less at once.
_CONCURRENT_CALLS = 4

# An answer that is put into another shape is in memory as a whole.
_MOST_ANSWER_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Reply:
    """What a container has answered: to be passed on as it comes, or whole in OpenAI's shape."""

    answer: Answer | None
    reader: Stream | Whole
    whole: bytes = b""


class OperationHandler(RelayHandler):
    """Subclasses name their operation."""

    operation: ClassVar[Operation]

    async def respond(self, *path: str) -> None:
        """Call the model; stream if the body says so."""
        targets, body, streams = await self.route_by_body()
        wait = Wait(self.keep_alive if streams else None)
        call = partial(self._call, body, streams)
        reply = await self.call_first(targets, call, wait)
        if reply.answer is None:
            self.set_header("Content-Type", JSON)
            self.write(reply.whole)
        elif isinstance(reply.reader, Stream):
            await self._send_events(reply.answer, reply.reader)
        else:
            await self.relay(reply.answer, ANSWER_HEADERS)
        self.note_usage(reply.reader.usage)

    async def keep_alive(self) -> None:
        """Show a client that still waits for its stream, and what is between, that we are here.

        From then on the answer has its status, and a failure is an event.
        """
        self._begin_events()
        self.write(b": the model is waking\n\n")
        await self.flush()

    async def _call(self, body: bytes, streams: bool, target: Target, wait: Wait | None) -> _Reply:
        if target.long_requests and not streams and self.operation is Operation.CHAT:
            return await self._call_long(body, target, wait)
        sagemaker = self.services.sagemaker
        rendered = self._in_dialect(target, body)
        reader = rendered.reader
        invocations = [self.invocation_of(target, each, wait) for each in rendered.bodies]
        if isinstance(reader, Stream):
            answer = await sagemaker.invoke_stream(invocations[0])
            if wait is None:  # another target is left, should this one fail at once
                await answer.begin()
            return _Reply(answer, reader)
        if reader.through:
            return _Reply(await sagemaker.invoke(invocations[0]), reader)
        slots = asyncio.Semaphore(_CONCURRENT_CALLS)

        async def read(number: int) -> bytes:
            async with slots, await sagemaker.invoke(invocations[number]) as answer:
                if number == 0:
                    self.copy_headers(answer, ANSWER_HEADERS)
                return await _read(answer)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(read(number)) for number in range(len(invocations))]
        except* ProxyError as failures:
            raise failures.exceptions[0] from None
        return _Reply(None, reader, reader.read([task.result() for task in tasks]))

    async def _call_long(self, body: bytes, target: Target, wait: Wait | None) -> _Reply:
        """Have the model stream, and put its answer together.

        SageMaker ends a call after a minute, and a stream after eight.
        """
        rendered = self._in_dialect(target, as_stream(body))
        reader, assembler = cast(Stream, rendered.reader), ChatAssembler()
        call = self.invocation_of(target, rendered.bodies[0], wait)
        async with await self.services.sagemaker.invoke_stream(call) as answer:
            self.copy_headers(answer, ANSWER_HEADERS)
            async for payload in answer.payloads():
                assembler.feed(reader.feed(payload))
                if reader.error is not None:
                    raise reader.error
        assembler.feed(reader.end())
        return _Reply(None, reader, assembler.end())

    def _in_dialect(self, target: Target, body: bytes) -> Rendered:
        dialect = DIALECTS[target.dialect]
        return dialect.render(
            body, self.operation, model=self.model or "", settings=target.settings
        )

    async def _send_events(self, answer: Answer, reader: Stream) -> None:
        async with answer:
            self.copy_headers(answer, ANSWER_HEADERS)
            content_type = answer.headers.get("X-Amzn-SageMaker-Content-Type", "")
            if isinstance(reader, OpenAIStream) and "json" in content_type:  # no stream after all
                await self._send_whole(answer, content_type)
                return
            self._begin_events()
            await self.relay_pieces(self._events(answer, reader), _EVENTS)

    async def _send_whole(self, answer: Answer, content_type: str) -> None:
        if not self.has_begun:
            await self.relay_pieces(answer.payloads(), content_type)
            return
        lines = b"".join([payload async for payload in answer.payloads()]).splitlines()
        self.write(sse.event(b" ".join(lines)))

    async def _events(self, answer: Answer, reader: Stream) -> AsyncIterator[bytes]:
        async for payload in answer.payloads():
            if events := reader.feed(payload):
                self._check(reader)
                yield events
            if reader.error is not None:
                return
        if rest := reader.end():
            self._check(reader)
            yield rest

    def _check(self, reader: Stream) -> None:
        """Raise the container's failure while the answer can still have a status of its own."""
        if reader.error is not None:
            if not self.has_begun:
                raise reader.error
            self.log_failure(reader.error)

    def _begin_events(self) -> None:
        self.late_ending = _error_event
        self.begin_stream(_EVENTS)


async def _read(answer: Answer) -> bytes:
    pieces, size = [], 0
    async for chunk in answer.chunks():
        pieces.append(chunk)
        size += len(chunk)
        if size > _MOST_ANSWER_BYTES:
            raise UpstreamFailed("the model's answer is too large to be put into OpenAI's shape")
    return b"".join(pieces)


def _error_event(error: ProxyError) -> bytes:
    return sse.event(json.dumps(error.to_openai()).encode())
