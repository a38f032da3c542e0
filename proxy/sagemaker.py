"""SageMaker's runtime: sign, send, try again where that is safe, and hand over the answer."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from proxy.answer import Answer, transport_error
from proxy.config import UpstreamConfig
from proxy.connection import Response
from proxy.connection_pool import ConnectFailed, ConnectionPool
from proxy.credentials import CredentialsProvider
from proxy.errors import ModelNotFound, ModelNotReady, ProxyError, Throttled
from proxy.metrics import Metrics
from proxy.patience import Wait
from proxy.refusals import Retry, no_credentials, read_refusal, translate
from proxy.signing import Credentials, Signer
from proxy.waking import Waking

if TYPE_CHECKING:
    from proxy.traces import CallSpan, Traces

_MAX_ERROR_BYTES = 1024 * 1024
_LARGE_BODY_BYTES = 256 * 1024
_KEEP_ALIVE_SECONDS = 30.0

_PREFIX = "x-amzn-sagemaker-"
_COMPONENT = "inference-component"
_CHOOSING = (_COMPONENT, "target-container-hostname", "target-model", "target-variant")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call: the endpoint's name, the headers SageMaker reads, and the body as it is.

    ``headers`` are by their names in lower case.
    """

    endpoint: str
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict)
    wait: Wait | None = field(default_factory=Wait)  # for a model that is not awake; None: not

    @property
    def deployment(self) -> str:
        """The name of what is called: an endpoint, or one of its inference components."""
        component = self._chosen().get(_COMPONENT)
        return f"{self.endpoint}/{component}" if component else self.endpoint

    @property
    def sleeper(self) -> str:
        """The name of what can be asleep by itself: a deployment, or a part of one."""
        chosen = self._chosen()
        chosen.pop(_COMPONENT, None)
        return " ".join((self.deployment, *(f"{name}={chosen[name]}" for name in sorted(chosen))))

    def _chosen(self) -> dict[str, str]:
        """What the headers choose in the endpoint, by their names without what all begin with."""
        headers = self.headers
        return {name: headers[_PREFIX + name] for name in _CHOOSING if _PREFIX + name in headers}


class SageMaker:
    """Calls endpoints with the proxy's own credentials. To be made inside a running loop."""

    def __init__(
        self,
        runtime_url: str,
        ssl_context: ssl.SSLContext,
        signer: Signer,
        credentials: CredentialsProvider,
        config: UpstreamConfig,
        metrics: Metrics,
        is_starting: Callable[[str], bool] = lambda deployment: False,
        traces: Traces | None = None,
    ) -> None:
        """``is_starting`` tells of a deployment that SageMaker does not find yet, but will."""
        parts = urlsplit(runtime_url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        self._scheme = parts.scheme
        self._path = parts.path
        host = parts.hostname or ""
        shown = f"[{host}]" if ":" in host else host
        self._host = shown if port == (443 if secure else 80) else f"{shown}:{port}"
        self._signer = signer
        self._credentials = credentials
        self._config = config
        self._metrics = metrics
        self._is_starting = is_starting
        self._traces = traces
        self._waking = Waking(config.wake_timeout_seconds, metrics)
        self._pool = ConnectionPool(
            host,
            port,
            ssl_context if secure else None,
            most=config.max_connections,
            connect_timeout_seconds=config.connect_timeout_seconds,
            read_timeout_seconds=config.read_timeout_seconds,
            keep_alive_seconds=_KEEP_ALIVE_SECONDS,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    def invoke(self, invocation: Invocation) -> Coroutine[Any, Any, Answer]:
        """InvokeEndpoint. Raises ``ProxyError``, as the two below."""
        return self._call("invocations", invocation)

    def invoke_stream(self, invocation: Invocation) -> Coroutine[Any, Any, Answer]:
        """InvokeEndpointWithResponseStream: the answer is an event stream."""
        return self._call("invocations-response-stream", invocation)

    def invoke_async(self, invocation: Invocation) -> Coroutine[Any, Any, Answer]:
        """InvokeEndpointAsync: the answer says where the output will be."""
        return self._call("async-invocations", invocation)

    def _call(self, operation: str, invocation: Invocation) -> Coroutine[Any, Any, Answer]:
        attempt = partial(self._attempt, operation, invocation)
        return self._waking.call(invocation.sleeper, attempt, invocation.wait)

    async def _attempt(self, operation: str, invocation: Invocation) -> Answer:
        """Send until SageMaker takes the call, or trying again would be wrong."""
        retries, renewed, followed = 0, False, False
        metrics = self._metrics
        while True:
            credentials = self._credentials_to_use()
            if self._traces is None:
                outcome = await self._once(operation, invocation, credentials)
            else:
                span = self._begin_span(
                    self._traces, operation, invocation, retries + renewed + followed
                )
                outcome = await self._once_in(span, operation, invocation, credentials)
            if isinstance(outcome, Answer):
                return outcome
            error, retry = outcome
            if retry is Retry.SOON and retries < self._config.retries:
                retries += 1
                metrics.retried("throttled" if isinstance(error, Throttled) else "connection")
                await asyncio.sleep(random.uniform(0.05, min(0.2 * 2**retries, 5)))
            elif retry is Retry.WITH_NEW_CREDENTIALS and not renewed:
                renewed = True
                if not await self._credentials.replace(credentials):
                    raise error
                metrics.retried("credentials")
            elif retry is Retry.BY_ITS_CLOCK and not followed:
                followed = True
                metrics.retried("clock")
            elif isinstance(error, ModelNotFound) and self._is_starting(invocation.deployment):
                raise ModelNotReady(invocation.deployment, refusal=error.refusal)
            else:
                raise error

    async def _once(
        self, operation: str, invocation: Invocation, credentials: Credentials
    ) -> Answer | tuple[ProxyError, Retry]:
        """Send, and read the error if it is one. Raises what is not to be tried again."""
        metrics = self._metrics
        began = time.monotonic()
        try:
            response = await self._send(operation, invocation, credentials)
        except ConnectFailed as exc:
            # Without a connection, nothing can have reached the model.
            metrics.attempted(operation, "failed")
            return transport_error(exc), Retry.NEVER if exc.is_final else Retry.SOON
        except OSError as exc:
            metrics.attempted(operation, "failed")
            raise transport_error(exc) from exc
        metrics.attempted(operation, response.status)
        if response.status < HTTPStatus.MULTIPLE_CHOICES:
            return Answer(response, began)
        error, retry = await _read_error(response, invocation.endpoint)
        if retry is Retry.BY_ITS_CLOCK and not self._signer.follow(
            response.headers.get("date", "")
        ):
            retry = Retry.NEVER
        return error, retry

    def _begin_span(
        self, traces: Traces, operation: str, invocation: Invocation, before: int
    ) -> CallSpan:
        path = f"{self._path}/endpoints/{invocation.endpoint}/{operation}"
        return traces.call(operation, f"{self._scheme}://{self._host}{path}", before)

    async def _once_in(
        self, span: CallSpan, operation: str, invocation: Invocation, credentials: Credentials
    ) -> Answer | tuple[ProxyError, Retry]:
        """The same in a span, which ends with the answer."""
        try:
            outcome = await self._once(operation, invocation, credentials)
        except BaseException as exc:
            span.end(exc)
            raise
        if isinstance(outcome, Answer):
            span.answered(outcome.status)
            outcome.when_closed = span.end
        else:
            span.end(outcome[0])
        return outcome

    def _credentials_to_use(self) -> Credentials:
        if credentials := self._credentials.current:
            return credentials
        raise no_credentials(self._credentials.problem)

    async def _send(
        self, operation: str, invocation: Invocation, credentials: Credentials
    ) -> Response:
        path = f"{self._path}/endpoints/{invocation.endpoint}/{operation}"
        body = invocation.body
        sign = partial(
            self._signer.sign,
            credentials,
            host=self._host,
            path=path,
            headers=invocation.headers,
            body=body,
        )
        # A large body takes long to hash, so a thread does.
        headers = await asyncio.to_thread(sign) if len(body) > _LARGE_BODY_BYTES else sign()
        return await self._pool.request(self._head(path, headers, len(body)), body)

    def _head(self, path: str, headers: dict[str, str], length: int) -> bytes:
        """A request's line and headers. Raises ``ValueError`` rather than send what is not one."""
        lines = [f"POST {path} HTTP/1.1", f"Host: {self._host}", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
            raise ValueError("a header has more than one line")
        return head.encode("ascii") + b"\r\n\r\n"


async def _read_error(response: Response, endpoint: str) -> tuple[ProxyError, Retry]:
    body = bytearray()
    try:
        while len(body) <= _MAX_ERROR_BYTES and (data := await response.read()):
            body += data
    except OSError as exc:
        raise transport_error(exc) from exc
    finally:
        response.close()
    return translate(read_refusal(response.status, response.headers, bytes(body)), endpoint)
