"""A container that answers what it was sent: any bytes, of any type."""

from aiohttp import web

_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
_MOST_BODY_BYTES = 64 * 1024 * 1024


def application() -> web.Application:
    """Build the container."""
    app = web.Application(client_max_size=_MOST_BODY_BYTES)
    app.add_routes([web.get("/ping", _ping), web.post("/invocations", _invocations)])
    return app


async def _ping(request: web.Request) -> web.Response:
    return web.Response()


async def _invocations(request: web.Request) -> web.Response:
    headers = {"Content-Type": request.headers.get("Content-Type", "application/octet-stream")}
    if _ATTRIBUTES in request.headers:
        headers[_ATTRIBUTES] = request.headers[_ATTRIBUTES]
    return web.Response(body=await request.read(), headers=headers)
