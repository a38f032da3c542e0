"""A Tornado server that checks a key and answers by itself what the upstream would."""

import argparse
import asyncio
import json
import ssl
import time
from typing import cast

import uvloop
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.web import Application, HTTPError, RequestHandler

_ANSWER = json.dumps({"choices": [{"message": {"content": "x" * 540}}]}).ljust(600).encode()


class Hello(RequestHandler):
    """Answers 600 bytes, or a stream as the model's name says."""

    def initialize(self, key: str) -> None:
        self._key = f"Bearer {key}"

    async def post(self) -> None:
        if self.request.headers.get("Authorization") != self._key:
            raise HTTPError(401)
        kind, *numbers = json.loads(self.request.body)["model"].split("-")
        if kind == "stream":
            milliseconds, chunks = map(int, numbers)
            await self._stream(milliseconds / 1000, chunks)
        else:
            self.set_header("Content-Type", "application/json")
            self.write(_ANSWER)

    async def _stream(self, interval: float, chunks: int) -> None:
        cast(HTTP1Connection, self.request.connection).stream.set_nodelay(True)
        self.set_header("Content-Type", "text/event-stream")
        due = time.monotonic()
        for _ in range(chunks):
            due += interval
            if interval:
                await asyncio.sleep(due - time.monotonic())
            stamp = int((due if interval else time.monotonic()) * 1_000_000)
            chunk = {"choices": [{"index": 0, "delta": {"content": f" ~t{stamp:016d}"}}]}
            self.write(f"data: {json.dumps(chunk)}\n\n")
            await self.flush()
        self.write("data: [DONE]\n\n")


async def _serve(options: argparse.Namespace) -> None:
    context = None
    if options.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(options.certificate, options.private_key)
    application = Application([(".*", Hello, {"key": options.key})])
    HTTPServer(application, ssl_options=context).listen(options.port, "127.0.0.1", backlog=4096)
    await asyncio.Event().wait()


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--certificate")
    parser.add_argument("--private-key")
    uvloop.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
