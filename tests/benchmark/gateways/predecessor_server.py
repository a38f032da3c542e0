"""A small FastAPI gateway as the predecessor's was: boto3 calls SageMaker, and blocks a thread.

It runs in an environment of its own, by `uvicorn predecessor_server:application`.
"""

import json
import os
from collections.abc import Iterator
from typing import Annotated, Any

import boto3
from botocore.config import Config
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

_KEY = os.environ["API_KEY"]
_bearer = HTTPBearer()
_runtime = boto3.client("sagemaker-runtime", config=Config(max_pool_connections=2048))
application = FastAPI()


def check_key(given: Annotated[HTTPAuthorizationCredentials, Depends(_bearer)]) -> None:
    """Refuse a wrong key."""
    if given.credentials != _KEY:
        raise HTTPException(401, "wrong key")


async def chat_completions(request: Request) -> Response:
    """Pass a chat on to the endpoint that `model` names."""
    body: dict[str, Any] = await request.json()
    call = {
        "EndpointName": body["model"],
        "Body": json.dumps(body),
        "ContentType": "application/json",
    }
    if body.get("stream"):
        answer = await run_in_threadpool(_runtime.invoke_endpoint_with_response_stream, **call)
        return StreamingResponse(_parts(answer["Body"]), media_type="text/event-stream")
    answer = await run_in_threadpool(_runtime.invoke_endpoint, **call)
    content = await run_in_threadpool(answer["Body"].read)
    return Response(content, media_type=answer["ContentType"])


def _parts(events: Any) -> Iterator[bytes]:
    for event in events:
        yield event["PayloadPart"]["Bytes"]


application.add_api_route(
    "/chat/completions",
    chat_completions,
    methods=["POST"],
    dependencies=[Depends(check_key)],
    response_model=None,
)
