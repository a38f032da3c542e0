"""The SageMaker runtime: checks, looks up, calls the container and answers as AWS does."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from random import Random
from uuid import UUID

from aiohttp import web

from tests.emulator.answers import (
    AwsError,
    component_missing,
    component_not_found,
    endpoint_not_found,
)
from tests.emulator.asynchronous import AsyncInference
from tests.emulator.bodies import send_body
from tests.emulator.calls import Call, CallLog
from tests.emulator.container_client import (
    ContainerClient,
    StreamFailed,
    container_headers,
    next_chunk,
)
from tests.emulator.faults import ASYNC, IN_BODY, INVOKE, REFUSALS, STREAM, Fault, FaultQueue
from tests.emulator.names import VARIANT
from tests.emulator.permissions import PermissionLog
from tests.emulator.signature import SignatureCheck
from tests.emulator.store import Store
from tests.emulator.streaming import EventStreamWriter, StreamOver
from tests.emulator.wire import (
    Dropped,
    drop,
    drop_at_once,
    half_close,
    reset,
    reset_behind,
    send_garbage,
)

_MOST_BODY_BYTES = 32 * 1024 * 1024
_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
_COMPONENT = "X-Amzn-SageMaker-Inference-Component"
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as the runtime knows it: its container, and which components callers may name."""

    name: str
    url: str
    components: frozenset[str] = frozenset()


class Runtime:
    """Three operations over the endpoints it is given; all its collaborators are passed in."""

    def __init__(
        self,
        *,
        endpoints: Mapping[str, Endpoint],
        signatures: SignatureCheck,
        faults: FaultQueue,
        calls: CallLog,
        permissions: PermissionLog,
        store: Store,
        region: str,
        now: Callable[[], datetime],
        seed: int,
        container_timeout: float,
    ) -> None:
        self._now = now
        self._endpoints = endpoints
        self._signatures = signatures
        self._faults = faults
        self._calls = calls
        self._permissions = permissions
        self._region = region
        self._seed = seed
        self._numbers = itertools.count()
        self._client = ContainerClient(region, container_timeout)
        self._async = AsyncInference(self._client, store)

    def application(self) -> web.Application:
        """Build the web application."""
        application = web.Application(
            middlewares=[self._answer_errors], client_max_size=_MOST_BODY_BYTES
        )
        application.cleanup_ctx.append(self._resources)
        application.add_routes(
            [
                web.post("/endpoints/{name}/invocations", self._invoke),
                web.post("/endpoints/{name}/invocations-response-stream", self._stream),
                web.post("/endpoints/{name}/async-invocations", self._invoke_async),
            ]
        )
        return application

    async def _resources(self, application: web.Application) -> AsyncIterator[None]:
        await self._client.open()
        yield
        await self._async.close()
        await self._client.close()

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except AwsError as exc:
            response = exc.response()
        except web.HTTPException as exc:
            known = {404: "UnknownOperationException", 413: "RequestEntityTooLargeException"}
            kind = known.get(exc.status, "ValidationError")
            response = AwsError.of(exc.status, kind, exc.reason).response()
        except Dropped:
            # The connection is gone; this is only for the server, which wants a response.
            return web.Response()
        except (asyncio.CancelledError, ConnectionResetError):
            self._calls.add_departure(request.match_info.get("name", ""))
            raise
        if not response.prepared:
            response.headers["x-amzn-RequestId"] = self._request_id()
            response.headers["Date"] = format_datetime(self._now(), usegmt=True)
        return response

    async def _invoke(self, request: web.Request) -> web.StreamResponse:
        endpoint, body, fault = await self._accept(request, INVOKE)
        answer = await self._client.invoke(
            endpoint.name, endpoint.url, container_headers(request.headers), body
        )
        headers = {"x-Amzn-Invoked-Production-Variant": VARIANT}
        if answer.custom_attributes is not None:
            headers[_ATTRIBUTES] = answer.custom_attributes
        if answer.status == 204:
            return web.Response(status=204, headers=headers)
        headers["Content-Type"] = answer.content_type
        if fault is not None and fault.kind in IN_BODY:
            headers["x-amzn-RequestId"] = self._request_id()
            return await send_body(request, headers, answer.body, fault)
        return web.Response(body=answer.body, headers=headers)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        endpoint, body, fault = await self._accept(request, STREAM)
        rng = self._rng()
        answered = self._client.stream(
            endpoint.name, endpoint.url, container_headers(request.headers), body
        )
        async with answered as container:
            headers = {
                "Content-Type": "application/vnd.amazon.eventstream",
                "X-Amzn-SageMaker-Content-Type": container.headers.get(
                    "Content-Type", "application/octet-stream"
                ),
                "x-Amzn-Invoked-Production-Variant": VARIANT,
                "x-amzn-RequestId": self._request_id(),
            }
            if _ATTRIBUTES in container.headers:
                headers[_ATTRIBUTES] = container.headers[_ATTRIBUTES]
            response = web.StreamResponse(headers=headers)
            response.enable_chunked_encoding()
            if fault is not None and fault.kind == "reset_after_body":
                response.force_close()
            await response.prepare(request)
            writer = EventStreamWriter(request, response, rng, fault)
            try:
                while chunk := await next_chunk(container):
                    await writer.send(chunk)
                await writer.finish()
            except StreamFailed as exc:
                await writer.fail(exc.frame)
            except StreamOver:
                pass
        await response.write_eof()
        if fault is not None and fault.kind == "reset_after_body":
            await reset_behind(request)
        return response

    async def _invoke_async(self, request: web.Request) -> web.StreamResponse:
        endpoint, body, _ = await self._accept(request, ASYNC)
        fresh_id = UUID(int=self._rng().getrandbits(128), version=4)
        ticket = self._async.submit(endpoint.name, endpoint.url, request.headers, body, fresh_id)
        return web.Response(
            status=202,
            headers={
                "X-Amzn-SageMaker-OutputLocation": ticket.output_location,
                "X-Amzn-SageMaker-FailureLocation": ticket.failure_location,
            },
            content_type="application/json",
            body=json.dumps({"InferenceId": ticket.inference_id}).encode(),
        )

    async def _accept(
        self, request: web.Request, operation: str
    ) -> tuple[Endpoint, bytes, Fault | None]:
        name = request.match_info["name"]
        if self._faults.take(name, operation, is_read=False) is not None:
            reset(request)
        body = await request.read()
        self._signatures.check(request, body)
        self._permissions.add(operation, "endpoint", name)
        if _COMPONENT in request.headers:
            self._permissions.add(operation, "inference-component", request.headers[_COMPONENT])
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            raise endpoint_not_found(name)
        self._calls.add(Call(name, operation, request.headers, body, time.monotonic()))
        if endpoint.components:
            _check_component(endpoint, request.headers.get(_COMPONENT))
        fault = self._faults.take(name, operation)
        if fault is not None:
            await self._suffer(request, fault, operation, name)
        return endpoint, body, fault

    async def _suffer(
        self, request: web.Request, fault: Fault, operation: str, endpoint: str
    ) -> None:
        """Let the fault happen, if it is one that happens before the container is called."""
        if fault.kind in REFUSALS:
            raise REFUSALS[fault.kind](fault, operation, endpoint, self._region)
        match fault.kind:
            case "slow_first_byte":
                await asyncio.sleep(fault.seconds)
            case "drop_before_answer":
                drop_at_once(request)
            case "reset_before_answer":
                reset(request)
            case "half_closed":
                half_close(request)
                await asyncio.sleep(fault.seconds)
                drop(request)
            case "garbage":
                send_garbage(request)

    def _rng(self) -> Random:
        return Random(f"{self._seed}/{next(self._numbers)}")

    def _request_id(self) -> str:
        return str(UUID(int=self._rng().getrandbits(128), version=4))


def _check_component(endpoint: Endpoint, component: str | None) -> None:
    if component is None:
        raise component_missing()
    if component not in endpoint.components:
        raise component_not_found(component)
