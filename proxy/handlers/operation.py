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
from proxy.dialects.base import Operation, Relayed, Rendered, Stream, Whole
from proxy.dialects.openai import USAGE_TAIL_BYTES, OpenAIStream, read_usage
from proxy.dialects.table import DIALECTS
from proxy.errors import ProxyError, UpstreamFailed
from proxy.handlers.base import JSON
from proxy.handlers.relay import ANSWER_HEADERS, RelayHandler
from proxy.models import Target
from proxy.patience import Wait

_EVENTS = "text/event-stream; charset=utf-8"

# Of the calls that one request becomes, because its container takes less at once.
_CONCURRENT_CALLS = 4

# To read more of an answer than this takes so long that the others shall not wait for it.
LARGE_BYTES = 256 * 1024

# An answer that is put into another shape is in memory as a whole.
_MOST_ANSWER_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Reply:
    """What a container has answered: to be passed on as it comes, or whole in OpenAI's shape."""

    answer: Answer
    reader: Stream | Whole | Relayed
    whole: bytes | None = None  # None: is still to be read, but for its first events
    events: bytes = b""


class OperationHandler(RelayHandler):
    """Subclasses name their operation."""

    operation: ClassVar[Operation]

    async def respond(self, *path: str) -> None:
        """Call the model; stream if the body says so."""
        targets, body, streams = await self.route_by_body()
        streams = streams and self.operation in (Operation.CHAT, Operation.COMPLETIONS)
        wait = self.new_wait(self.keep_alive if streams else None)
        call = partial(self._call, body, streams)
        reply = await self.call_first(targets, call, wait)
        self.copy_headers(reply.answer, ANSWER_HEADERS)
        try:
            if reply.whole is not None:
                await self.send_body(reply.whole)
            elif isinstance(reply.reader, Stream):
                await self._send_events(reply.answer, reply.reader, reply.events)
            else:
                await self.send_relayed(reply.answer)
        finally:  # the tokens are spent, whatever becomes of the answer
            self.note_usage(reply.reader.usage)

    async def keep_alive(self) -> None:
        """Show a client that still waits for its stream, and what is between, that we are here.

        From then on the answer has its status, and a failure is an event.
        """
        self.begin_events()
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
            if wait is None and not _is_whole(answer, reader):
                # Another target is left, should this one fail at once.
                return _Reply(answer, reader, events=await _first_events(answer, reader))
            return _Reply(answer, reader)
        if isinstance(reader, Relayed):
            return _Reply(await sagemaker.invoke(invocations[0]), reader)
        slots = asyncio.Semaphore(_CONCURRENT_CALLS)

        async def read(number: int) -> Answer:
            async with slots, await sagemaker.invoke(invocations[number]) as answer:
                body = await read_bounded(answer.chunks())
                if len(body) < LARGE_BYTES:
                    reader.take(number, body)
                else:
                    await asyncio.to_thread(reader.take, number, body)
                return answer

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(read(number)) for number in range(len(invocations))]
        except* ProxyError as failures:
            raise failures.exceptions[0] from None
        return _Reply(tasks[0].result(), reader, reader.end())

    async def _call_long(self, body: bytes, target: Target, wait: Wait | None) -> _Reply:
        """Have the model stream, and put its answer together.

        SageMaker ends a call after a minute, and a stream after eight.
        """
        rendered = self._in_dialect(target, as_stream(body))
        reader, assembler = cast(Stream, rendered.reader), ChatAssembler()
        call = self.invocation_of(target, rendered.bodies[0], wait)
        async with await self.services.sagemaker.invoke_stream(call) as answer:
            if _is_whole(answer, reader):
                body = await read_bounded(answer.payloads())
                reader.usage = read_usage(body[-USAGE_TAIL_BYTES:])
                return _Reply(answer, reader, body)
            async for payload in answer.payloads():
                assembler.feed(_checked(reader, reader.feed(payload)))
        assembler.feed(_checked(reader, reader.end()))
        return _Reply(answer, reader, assembler.end())

    def _in_dialect(self, target: Target, body: bytes) -> Rendered:
        dialect = DIALECTS[target.dialect]
        return dialect.render(
            body, self.operation, model=self.model or "", settings=target.settings
        )

    async def _send_events(self, answer: Answer, reader: Stream, first: bytes) -> None:
        async with answer:
            if _is_whole(answer, reader):
                await self.send_whole_for_stream(answer, _content_type(answer))
                return
            self.begin_events()
            first = self.show_events(first) if first else first
            await self.relay_pieces(self.read_events(answer, reader), _EVENTS, first)

    async def send_body(self, body: bytes) -> None:
        """Send a whole answer that is in OpenAI's shape."""
        self.set_header("Content-Type", JSON)
        self.write(body)

    async def send_relayed(self, answer: Answer) -> None:
        """Send a whole answer that is to be passed on as it comes."""
        await self.relay(answer, ANSWER_HEADERS)

    async def send_whole_for_stream(self, answer: Answer, content_type: str) -> None:
        """Send the one piece in which a container has answered for a stream."""
        if not self.has_begun:
            await self.relay_pieces(answer.payloads(), content_type)
            return
        lines = b"".join([payload async for payload in answer.payloads()]).splitlines()
        self.write(sse.event(b" ".join(lines)))

    async def read_events(self, answer: Answer, reader: Stream) -> AsyncIterator[bytes]:
        """The events to send, to the last: the end of the stream, or the failure.

        Raises ``ProxyError`` where the answer can still have a status of its own.
        """
        while (payload := await answer.take()) is not None:
            if events := reader.feed(payload):
                self._check(reader)
                if shown := self.show_events(events):
                    yield shown
            if reader.error is not None:
                break
        else:
            if rest := reader.end():
                self._check(reader)
                yield self.show_events(rest)
        if last := self.end_events(reader.error):
            yield last

    def _check(self, reader: Stream) -> None:
        """Raise the container's failure while the answer can still have a status of its own."""
        if reader.error is not None:
            if not self.has_begun:
                raise reader.error
            self.log_failure(reader.error)

    def begin_events(self) -> None:
        """Make ready to send a stream, in which a failure is an event."""
        self.late_ending = _error_event
        self.begin_stream(_EVENTS)

    def show_events(self, events: bytes) -> bytes:
        """What to send for some of the reader's events."""
        return events

    def end_events(self, error: ProxyError | None) -> bytes:
        """What to send after the last of them, which has told of ``error`` if there is one."""
        return b""


def _content_type(answer: Answer) -> str:
    return answer.headers.get("x-amzn-sagemaker-content-type", "")


def _is_whole(answer: Answer, reader: Stream) -> bool:
    """Whether the container of a stream has answered in one piece after all."""
    return isinstance(reader, OpenAIStream) and "json" in _content_type(answer)


def _checked(reader: Stream, events: bytes) -> bytes:
    """``events``, unless the last of them is a failure, which is raised."""
    if reader.error is not None:
        raise reader.error
    return events


async def _first_events(answer: Answer, reader: Stream) -> bytes:
    """Wait for them; none if the stream ends before. Raises what it, or its container, reports."""
    try:
        while (payload := await answer.take()) is not None:
            if events := _checked(reader, reader.feed(payload)):
                return events
    except BaseException as exc:
        answer.close(exc)
        raise
    return b""


async def read_bounded(pieces: AsyncIterator[bytes]) -> bytes:
    """All of an answer. Raises ``UpstreamFailed`` if it is too large to be held."""
    read, size = [], 0
    async for piece in pieces:
        read.append(piece)
        size += len(piece)
        if size > _MOST_ANSWER_BYTES:
            raise UpstreamFailed("the model's answer is too large to be put into another shape")
    return b"".join(read)


def _error_event(error: ProxyError) -> bytes:
    return sse.event(json.dumps(error.to_openai()).encode())
