"""Asynchronous calls by SageMaker's own path, and their results, which lie in S3."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, replace
from http import HTTPStatus

from proxy.answer import Answer
from proxy.errors import InvocationFailed, Refusal, RequestTooLarge, ResultNotFound
from proxy.handlers.native import ANSWER_HEADERS, NativeHandler
from proxy.locations import Location
from proxy.objects import StoredObject
from proxy.sagemaker import Invocation
from proxy.sealing import NotSealed, Seal

_INPUT_LOCATION = "x-amzn-sagemaker-inputlocation"
_CONTENT_TYPE = "x-amzn-sagemaker-content-type"

# SageMaker names the output after these, where a client gives them. It could name one that was
# there before, another key's, and read that under the Location that it is answered. So it gets
# none: it has chosen to find its output itself.
_NAMES_OUTPUT = ("x-amzn-sagemaker-filename", "x-amzn-sagemaker-inference-id")

_RETRY_SECONDS = 2
_MOST_FAILURE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Result:
    """Where a call's result will be; all that the sealed part of its path holds.

    ``deployment`` is the endpoint, or one of its inference components, as keys are for.
    """

    deployment: str
    output: Location
    failure: Location | None

    def seal(self, seal: Seal, *context: str) -> str:
        failure = str(self.failure) if self.failure else ""
        content = json.dumps([self.deployment, str(self.output), failure])
        return seal.seal(content.encode(), *context)

    @classmethod
    def open(cls, seal: Seal, sealed: str, *context: str) -> _Result:
        """Raises ``NotSealed``."""
        deployment, output, failure = json.loads(seal.open(sealed, *context))
        return cls(deployment, Location.parse(output), Location.parse(failure) if failure else None)


class AsyncInvocationsHandler(NativeHandler):
    """InvokeEndpointAsync."""

    async def respond(self, *path: str) -> None:
        """Pass the call through; the answer says where the output will be, in S3 and here."""
        endpoint = path[0]
        call = await self._with_input(await self.invocation(endpoint))
        answer = await self.services.sagemaker.invoke_async(call)
        if location := self._result_path(endpoint, answer):
            self.set_header("Location", location)
        await self.relay(answer, ANSWER_HEADERS)

    async def _with_input(self, call: Invocation) -> Invocation:
        """The call with its body in S3, if SageMaker does not take it in the call itself."""
        settings = self.services.config.async_inference
        if _INPUT_LOCATION in call.headers or len(call.body) <= settings.max_inline_bytes:
            return call
        if not settings.input_location:
            raise RequestTooLarge(
                f"the body is over the {settings.max_inline_bytes} bytes that an asynchronous call "
                "may carry (async_inference.max_inline_bytes): put it to S3 and name it in "
                "X-Amzn-SageMaker-InputLocation, or have the proxy's operator set "
                "async_inference.input_location"
            )
        location = Location.parse(f"{settings.input_location}{uuid.uuid4()}")
        headers = {**call.headers, _INPUT_LOCATION: str(location)}
        if content_type := headers.get(_CONTENT_TYPE) or headers.pop("content-type", ""):
            headers[_CONTENT_TYPE] = content_type
        stored_type = content_type or "application/octet-stream"
        await self.services.objects.put(location, call.body, stored_type)
        return replace(call, body=b"", headers=headers)

    def _result_path(self, endpoint: str, answer: Answer) -> str | None:
        """Where the client finds the result, if it may, and if SageMaker has said where it is."""
        seal = self.services.seal
        if seal is None or any(name in self.request.headers for name in _NAMES_OUTPUT):
            return None
        output = answer.headers.get("x-amzn-sagemaker-outputlocation", "")
        failure = answer.headers.get("x-amzn-sagemaker-failurelocation", "")
        try:
            result = _Result(
                self.model or endpoint,
                Location.parse(output),
                Location.parse(failure) if failure else None,
            )
        except ValueError:
            return None
        sealed = result.seal(seal, self.caller_name, endpoint)
        return f"/endpoints/{endpoint}/async-invocations/{sealed}"


class AsyncResultHandler(NativeHandler):
    """The result of an asynchronous call, under the path that its answer gave."""

    methods = ("GET", "HEAD")

    async def serve(self, *path: str) -> None:
        """Outside the limits of the key: the call itself was counted."""
        await self.respond(*path)

    async def respond(self, *path: str) -> None:
        """The output; 202 while there is none; or an error, if the call has failed."""
        endpoint, sealed = path
        result = self._open(endpoint, sealed)
        self.model = result.deployment
        self.check_native_access(endpoint, result.deployment)
        objects = self.services.objects
        if output := await objects.get(result.output):
            async with output:
                await self._send_output(output)
        elif result.failure and (failure := await objects.get(result.failure)):
            async with failure:
                raise await _failed(failure)
        else:
            self.set_status(HTTPStatus.ACCEPTED)
            self.set_header("Retry-After", str(_RETRY_SECONDS))
            self.write_json({"Status": "InProgress"})

    def _open(self, endpoint: str, sealed: str) -> _Result:
        seal = self.services.seal
        if seal is None:
            raise ResultNotFound
        try:
            return _Result.open(seal, sealed, self.caller_name, endpoint)
        except NotSealed as exc:
            raise ResultNotFound from exc

    async def _send_output(self, output: StoredObject) -> None:
        self.set_header("Content-Type", output.content_type)
        self.set_header("Content-Length", str(output.length))
        if self.request.method == "HEAD":
            return
        async for piece in output.pieces():
            self.write(piece)
            await self.flush()


async def _failed(failure: StoredObject) -> InvocationFailed:
    """The error that the object tells of. What it says is the client's alone: it may quote it."""
    text = b""
    async for piece in failure.pieces():
        text += piece
        if len(text) >= _MOST_FAILURE_BYTES:
            break
    message = "the asynchronous call failed; OriginalMessage is what SageMaker wrote of it"
    told = text[:_MOST_FAILURE_BYTES].decode(errors="replace")
    body = json.dumps({"Message": message, "OriginalMessage": told}).encode()
    refusal = Refusal(InvocationFailed.status, InvocationFailed.native_type, body)
    return InvocationFailed(message, refusal=refusal)
