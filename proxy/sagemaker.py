"""SageMaker's runtime: sign, send, try again where that is safe, and hand over the answer."""

from __future__ import annotations

import asyncio
import io
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from proxy.answer import Answer, transport_error
from proxy.config import UpstreamConfig
from proxy.credentials import CredentialsProvider
from proxy.errors import ModelNotFound, ModelNotReady, ProxyError, Throttled
from proxy.metrics import Metrics
from proxy.patience import Wait
from proxy.refusals import Retry, no_credentials, read_refusal, translate
from proxy.signing import Credentials, Signer
from proxy.waking import Waking

_MAX_ERROR_BYTES = 1024 * 1024
_LARGE_BODY_BYTES = 256 * 1024
_KEEP_ALIVE_SECONDS = 30.0

# aiohttp would add these of its own; only what the caller gives is signed and sent.
_SKIPPED_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


_PREFIX = "x-amzn-sagemaker-"
_COMPONENT = "inference-component"
_CHOOSING = (_COMPONENT, "target-container-hostname", "target-model", "target-variant")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call: the endpoint's name, the headers SageMaker reads, and the body as it is."""

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
        lower = {name.lower(): value for name, value in self.headers.items()}
        return {name: lower[_PREFIX + name] for name in _CHOOSING if _PREFIX + name in lower}


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
    ) -> None:
        """``is_starting`` tells of a deployment that SageMaker does not find yet, but will."""
        parts = urlsplit(runtime_url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path
        default_port = {"http": 80, "https": 443}[parts.scheme]
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        self._host = host if parts.port in (None, default_port) else f"{host}:{parts.port}"
        self._signer = signer
        self._credentials = credentials
        self._config = config
        self._metrics = metrics
        self._is_starting = is_starting
        self._waking = Waking(config.wake_timeout_seconds, metrics)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=config.max_connections,
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
                ssl=ssl_context,
            ),
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=config.connect_timeout_seconds,
                sock_read=config.read_timeout_seconds,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_SKIPPED_HEADERS,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def invoke(self, invocation: Invocation) -> Answer:
        """InvokeEndpoint. Raises ``ProxyError``, as the two below."""
        return await self._call("invocations", invocation)

    async def invoke_stream(self, invocation: Invocation) -> Answer:
        """InvokeEndpointWithResponseStream: the answer is an event stream."""
        return await self._call("invocations-response-stream", invocation)

    async def invoke_async(self, invocation: Invocation) -> Answer:
        """InvokeEndpointAsync: the answer says where the output will be."""
        return await self._call("async-invocations", invocation)

    async def _call(self, operation: str, invocation: Invocation) -> Answer:
        attempt = partial(self._attempt, operation, invocation)
        return await self._waking.call(invocation.sleeper, attempt, invocation.wait)

    async def _attempt(self, operation: str, invocation: Invocation) -> Answer:
        """Send until SageMaker takes the call, or trying again would be wrong."""
        retries, renewed = 0, False
        metrics = self._metrics
        while True:
            credentials = self._credentials_to_use()
            began = time.monotonic()
            try:
                response = await self._send(operation, invocation, credentials)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
                # Without a connection, nothing can have reached the model.
                metrics.attempted(operation, "failed")
                error, retry = transport_error(exc), Retry.SOON
                if isinstance(exc, aiohttp.ClientSSLError):
                    retry = Retry.NEVER
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                metrics.attempted(operation, "failed")
                raise transport_error(exc) from exc
            else:
                metrics.attempted(operation, response.status)
                if response.status < HTTPStatus.MULTIPLE_CHOICES:
                    return Answer(response, began)
                error, retry = await _read_error(response, invocation.endpoint)

            if retry is Retry.SOON and retries < self._config.retries:
                retries += 1
                metrics.retried("throttled" if isinstance(error, Throttled) else "connection")
                await asyncio.sleep(random.uniform(0.05, min(0.2 * 2**retries, 5)))
            elif retry is Retry.WITH_NEW_CREDENTIALS and not renewed:
                renewed = True
                if not await self._credentials.replace(credentials):
                    raise error
                metrics.retried("credentials")
            elif isinstance(error, ModelNotFound) and self._is_starting(invocation.deployment):
                raise ModelNotReady(invocation.deployment, refusal=error.refusal)
            else:
                raise error

    def _credentials_to_use(self) -> Credentials:
        if credentials := self._credentials.current:
            return credentials
        raise no_credentials(self._credentials.problem)

    async def _send(
        self, operation: str, invocation: Invocation, credentials: Credentials
    ) -> aiohttp.ClientResponse:
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
        # A large body takes long to hash, so a thread does; and it is written piece by piece.
        large = len(body) > _LARGE_BODY_BYTES
        headers = await asyncio.to_thread(sign) if large else sign()
        return await self._session.post(
            URL(self._origin + path, encoded=True),
            data=io.BytesIO(body) if large else body,
            headers=headers,
            allow_redirects=False,
        )


async def _read_error(response: aiohttp.ClientResponse, endpoint: str) -> tuple[ProxyError, Retry]:
    body = bytearray()
    try:
        async for data in response.content.iter_any():
            body += data
            if len(body) > _MAX_ERROR_BYTES:
                break
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        raise transport_error(exc) from exc
    finally:
        response.close()
    return translate(read_refusal(response.status, response.headers, bytes(body)), endpoint)
