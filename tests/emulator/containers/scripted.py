"""A container that gives one answer, whatever it is asked, and then hangs if it is told to."""

import asyncio

from aiohttp import web


class Scripted:
    """Its answer's pieces; `hangs` after the last, until the caller has left."""

    def __init__(
        self, *pieces: bytes, content_type: str = "text/event-stream", hangs: bool = False
    ) -> None:
        self._pieces = pieces
        self._content_type = content_type
        self._hangs = hangs

    async def ping(self, request: web.Request) -> web.Response:
        """Say that the container is well."""
        return web.Response()

    async def invocations(self, request: web.Request) -> web.StreamResponse:
        """Give the answer."""
        response = web.StreamResponse(headers={"Content-Type": self._content_type})
        await response.prepare(request)
        for piece in self._pieces:
            await response.write(piece)
        if self._hangs:
            await asyncio.Event().wait()
        return response


def application(
    *pieces: bytes, content_type: str = "text/event-stream", hangs: bool = False
) -> web.Application:
    """Build the container."""
    container = Scripted(*pieces, content_type=content_type, hangs=hangs)
    app = web.Application()
    app.add_routes(
        [web.get("/ping", container.ping), web.post("/invocations", container.invocations)]
    )
    return app
