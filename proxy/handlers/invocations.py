"""SageMaker's own paths: any bytes in and out, so that an AWS SDK pointed here works."""

from __future__ import annotations

import json

from proxy import eventstream
from proxy.errors import ProxyError
from proxy.handlers.native import ANSWER_HEADERS, NativeHandler


class InvocationsHandler(NativeHandler):
    """InvokeEndpoint."""

    async def respond(self, *path: str) -> None:
        """Pass the call and its answer through."""
        answer = await self.services.sagemaker.invoke(await self.invocation(path[0]))
        await self.relay(answer, ANSWER_HEADERS)


class ResponseStreamHandler(NativeHandler):
    """InvokeEndpointWithResponseStream."""

    async def respond(self, *path: str) -> None:
        """Pass the event stream through, frame by frame; a failure ends it with an exception."""
        answer = await self.services.sagemaker.invoke_stream(await self.invocation(path[0]))
        async with answer:
            self.copy_headers(answer, ANSWER_HEADERS)
            self.late_ending = _failure_frame
            content_type = answer.headers.get("content-type", "")
            await self.relay_pieces(answer.frames(), content_type)


def _failure_frame(error: ProxyError) -> bytes:
    message = json.dumps({"Message": error.message}).encode()
    return eventstream.encode_exception("InternalStreamFailure", message)
