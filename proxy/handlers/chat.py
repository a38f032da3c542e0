"""``POST /v1/chat/completions``: OpenAI's chat, answered by the endpoint that ``model`` names."""

from __future__ import annotations

from proxy.handlers.relay import RelayHandler


class ChatHandler(RelayHandler):
    """The client's bytes reach the container, and the container's bytes the client."""

    async def respond(self, *path: str) -> None:
        """Call the model; stream if the body says so."""
        targets, body, stream = await self.route_by_body()
        answer = await self.call_first(targets, body, stream=stream)
        await (self.relay_events if stream else self.relay)(answer)
