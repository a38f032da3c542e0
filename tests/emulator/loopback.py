"""Serves an aiohttp application on a free port of the loopback."""

from aiohttp import web

HOST = "127.0.0.1"


async def serve(application: web.Application) -> tuple[web.AppRunner, str]:
    """Start serving; return what ends it (`cleanup`) and the address."""
    # Cancelling a handler when its client leaves is how that is noticed at once.
    runner = web.AppRunner(
        application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
    )
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    port = runner.addresses[0][1]
    return runner, f"http://{HOST}:{port}"
