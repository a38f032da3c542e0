"""``GET /console/figures``: what this key has done with each model, for the console's charts."""

from __future__ import annotations

import time
from typing import cast

import msgspec

from proxy.handlers.base import BaseHandler
from proxy.keys import Caller


class FiguresHandler(BaseHandler):
    """All workers together. Counts only grow, so two answers tell what was between them."""

    async def respond(self, *path: str) -> None:
        """Write them, and what the key may use."""
        caller = cast(Caller, self.caller)  # the route is not public
        rows = await self.services.figures.of_key(caller.name)
        self.set_header("Cache-Control", "no-store")
        self.write_json(
            {
                "key": caller.name,
                "time": time.time(),
                "limits": {
                    "requests_per_minute": caller.limits.requests_per_minute,
                    "tokens_per_minute": caller.limits.tokens_per_minute,
                    "max_concurrent": caller.limits.max_concurrent,
                },
                "models": [
                    {"model": model, **msgspec.structs.asdict(row)}
                    for model, row in sorted(rows.items())
                ],
            }
        )
