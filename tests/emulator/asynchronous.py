"""Asynchronous inference: input from S3 or inline, output or failure to S3."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from tests.emulator.answers import AwsError
from tests.emulator.container_client import ContainerClient, container_headers
from tests.emulator.store import Store, split_uri

OUTPUT_BUCKET = "emulator-async-inference"
_MOST_INLINE_BYTES = 128_000
_DEFAULT_TIMEOUT = 900.0


@dataclass(frozen=True)
class Ticket:
    """What the caller of an asynchronous call is told at once."""

    inference_id: str
    output_location: str
    failure_location: str


class AsyncInference:
    """Accepts calls, and works on each in a task of its own."""

    def __init__(self, client: ContainerClient, store: Store) -> None:
        self._client = client
        self._store = store
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(
        self, endpoint: str, url: str, headers: Mapping[str, str], body: bytes, fresh_id: UUID
    ) -> Ticket:
        """Start working on a call; raise AwsError if it can't be accepted."""
        location = headers.get("X-Amzn-SageMaker-InputLocation")
        _check_input(location, body)
        ticket = _ticket(endpoint, headers, str(fresh_id))
        work = self._work(endpoint, url, headers, body, location, ticket)
        task = asyncio.create_task(work, name=f"async inference {ticket.inference_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return ticket

    async def close(self) -> None:
        """Give up on what is still being worked on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(
        self,
        endpoint: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        location: str | None,
        ticket: Ticket,
    ) -> None:
        try:
            if location is not None:
                body = (await asyncio.to_thread(self._store.get, location)).body
            timeout = float(
                headers.get("X-Amzn-SageMaker-InvocationTimeoutSeconds", _DEFAULT_TIMEOUT)
            )
            answer = await self._client.invoke(
                endpoint, url, container_headers(headers), body, timeout
            )
        except (AwsError, LookupError) as exc:
            text = exc.message if isinstance(exc, AwsError) else str(exc)
            await self._put(ticket.failure_location, text.encode(), "text/plain")
        else:
            await self._put(ticket.output_location, answer.body, answer.content_type)

    async def _put(self, uri: str, body: bytes, content_type: str) -> None:
        await asyncio.to_thread(self._store.put, uri, body, content_type)


def _check_input(location: str | None, body: bytes) -> None:
    if (location is None) == (not body):
        raise _invalid("Provide exactly one of Body and InputLocation.")
    if len(body) > _MOST_INLINE_BYTES:
        raise _invalid(
            f"Inline payload of {len(body)} bytes exceeds the limit of {_MOST_INLINE_BYTES} bytes."
        )
    if location is not None:
        try:
            split_uri(location)
        except ValueError:
            raise _invalid(f"InputLocation '{location}' is not a valid Amazon S3 URI.") from None


def _ticket(endpoint: str, headers: Mapping[str, str], fresh_id: str) -> Ticket:
    extension = headers.get("X-Amzn-SageMaker-S3OutputPathExtension", "").strip("/")
    folder = "/".join(part for part in (OUTPUT_BUCKET, endpoint, extension) if part)
    inference_id = headers.get("X-Amzn-SageMaker-Inference-Id", fresh_id)
    name = headers.get("X-Amzn-SageMaker-Filename", f"{inference_id}.out")
    return Ticket(
        inference_id,
        f"s3://{folder}/output/{name}",
        f"s3://{folder}/failure/{inference_id}-error.out",
    )


def _invalid(message: str) -> AwsError:
    return AwsError.of(400, "ValidationError", message)
