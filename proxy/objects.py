"""Objects in S3, read piece by piece and put, with the proxy's own credentials."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    NoCredentialsError,
    ReadTimeoutError,
)

from proxy.credentials import CredentialsProvider
from proxy.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    ProxyError,
    Unavailable,
    UpstreamFailed,
)
from proxy.locations import Location
from proxy.refusals import no_credentials

# A thread is taken for one call or one piece; an object that a client reads slowly takes none.
_THREADS = 16
_PIECE_BYTES = 256 * 1024

# Objects that are being read or put, or wait for a thread. What is more is refused.
_MOST_OPEN = 64

_READ, _PUT = "s3:GetObject", "s3:PutObject"

_ENDED = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "TokenRefreshRequired",
    }
)


class StoredObject:
    """An object that is there and still to be read, once. Use it as a context manager.

    ``content_type`` is as it was stored, ``length`` in bytes.
    """

    def __init__(
        self, answer: dict[str, Any], read: Callable[[], Future[bytes]], close: Callable[[], None]
    ) -> None:
        """``answer`` is GetObject's; ``read`` begins to read a piece, ``close`` lets all go."""
        self.content_type: str = answer.get("ContentType") or "application/octet-stream"
        self.length: int = answer["ContentLength"]
        self._read = read
        self._close = close
        self._reading: Future[bytes] | None = None

    async def __aenter__(self) -> StoredObject:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reading is None:
            self._close()
        else:
            # A thread cannot be stopped: if it still reads, it closes when it has.
            self._reading.add_done_callback(lambda _: self._close())

    async def pieces(self) -> AsyncIterator[bytes]:
        """The object's bytes, at most ``_PIECE_BYTES`` at once. Raises ``ProxyError``."""
        while True:
            self._reading = self._read()
            try:
                piece = await asyncio.wrap_future(self._reading)
            except (BotoCoreError, OSError) as exc:
                raise _transport_error(exc) from exc
            if not piece:
                return
            yield piece


class Objects:
    """Reads and puts objects through boto3, which blocks, in threads of its own."""

    def __init__(self, storage: Callable[[], Any], credentials: CredentialsProvider) -> None:
        """``storage`` returns the boto3 client ``s3``, and may block."""
        self._storage = storage
        self._credentials = credentials
        self._slots = threading.BoundedSemaphore(_MOST_OPEN)
        self._executor = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="objects")

    def close(self) -> None:
        """Begin nothing any more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def get(self, location: Location) -> StoredObject | None:
        """The object, to be read; None if there is none. Raises ``ProxyError``."""

        def begin() -> dict[str, Any]:
            found: dict[str, Any] = self._storage().get_object(
                Bucket=location.bucket, Key=location.key
            )
            return found

        try:
            answer = await self._call(begin)
        except ClientError as exc:
            if _code(exc) == "NoSuchKey":
                return None
            raise _translate(exc, _READ, location) from exc
        body = answer["Body"]
        return StoredObject(
            answer,
            lambda: self._executor.submit(body.read, _PIECE_BYTES),
            lambda: self._let_go(body),
        )

    async def put(self, location: Location, body: bytes, content_type: str) -> None:
        """Write an object. Raises ``ProxyError``."""

        def write() -> dict[str, Any]:
            self._storage().put_object(
                Bucket=location.bucket, Key=location.key, Body=body, ContentType=content_type
            )
            return {}

        try:
            await self._call(write)
        except ClientError as exc:
            raise _translate(exc, _PUT, location) from exc
        self._slots.release()

    async def _call(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What ``work`` returns in a thread; the slot that it takes is the caller's to give back.

        Credentials that have ended are replaced once. Raises ``ProxyError`` and ``ClientError``.
        """
        renewed = False
        while True:
            credentials = self._credentials.current
            if credentials is None:
                raise no_credentials(self._credentials.problem)
            try:
                return await self._attempt(work)
            except ClientError as exc:
                if renewed or _code(exc) not in _ENDED:
                    raise
                renewed = True
                if not await self._credentials.replace(credentials):
                    raise
            except (NoCredentialsError, CredentialRetrievalError) as exc:
                raise no_credentials(str(exc)) from exc
            except (BotoCoreError, OSError) as exc:
                raise _transport_error(exc) from exc

    async def _attempt(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if not self._slots.acquire(blocking=False):
            raise Unavailable(
                f"the server has its {_MOST_OPEN} objects of S3 open; try again shortly",
                headers={"Retry-After": "1"},
            )
        future = self._executor.submit(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            # A thread cannot be stopped: what it still brings is let go when it is here.
            future.add_done_callback(self._let_go_of_late)
            raise
        except BaseException:
            self._slots.release()
            raise

    def _let_go_of_late(self, future: Future[dict[str, Any]]) -> None:
        brought = not future.cancelled() and future.exception() is None
        self._let_go(future.result().get("Body") if brought else None)

    def _let_go(self, body: Any) -> None:
        """Give back the slot, and, where there is a body, its connection, in a thread."""

        def close() -> None:
            try:
                if body is not None:
                    body.close()
            finally:
                self._slots.release()

        with suppress(RuntimeError):  # after the end; everything goes with the process
            self._executor.submit(close)


def _code(exc: ClientError) -> str:
    return str(exc.response.get("Error", {}).get("Code", ""))


def _translate(exc: ClientError, action: str, location: Location) -> ProxyError:
    """What S3's refusal means."""
    code = _code(exc)
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = f"{code}: {exc.response.get('Error', {}).get('Message', '')}"
    if code in _ENDED:
        return _refused(f"AWS refused the proxy's credentials: {said}")
    if status == HTTPStatus.FORBIDDEN:
        also = (
            f", or s3:ListBucket on the bucket {location.bucket}, without which S3 answers so for "
            "an object that is not there yet, too"
        )
        return _refused(
            f"the proxy's role lacks the IAM action {action} on {location}"
            f"{also if action == _READ else ''}; S3 said {said}"
        )
    log_message = f"S3 answered {status} to {action} on {location}: {said}"
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return Unavailable(
            "S3 is too busy; try again shortly",
            headers={"Retry-After": "1"},
            log_message=log_message,
        )
    return UpstreamFailed(f"S3 failed ({code or status})", log_message=log_message)


def _refused(log_message: str) -> CredentialsRefused:
    return CredentialsRefused(
        "the proxy is not allowed to use the bucket of asynchronous calls, or its AWS credentials "
        "are not valid; its operator finds the reason in the log",
        log_message=log_message,
    )


def _transport_error(exc: Exception) -> ProxyError:
    log_message = f"S3: {type(exc).__name__}: {exc}"
    if isinstance(exc, ConnectTimeoutError | ReadTimeoutError | TimeoutError):
        return DeadlineExceeded("S3 did not answer in time", log_message=log_message)
    if isinstance(exc, ConnectionError):
        return UpstreamFailed("S3 cannot be reached", log_message=log_message)
    return UpstreamFailed("the connection to S3 broke", log_message=log_message)
