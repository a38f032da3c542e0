"""``POST /v1/audio/transcriptions``: what is said in a file of audio."""

from __future__ import annotations

import asyncio

from proxy.dialects import transcription
from proxy.errors import UpstreamFailed
from proxy.forms import Form, read_form
from proxy.handlers.relay import ANSWER_HEADERS, RelayHandler
from proxy.models import Target
from proxy.patience import Wait

# To take a larger form apart takes so long that the others shall not wait for it.
_LARGE_BYTES = 256 * 1024

# Nobody says as much in the audio that a call can have.
_MOST_ANSWER_BYTES = 16 * 1024 * 1024


class TranscriptionsHandler(RelayHandler):
    """Answered by the model that the form names."""

    async def respond(self, *path: str) -> None:
        """Send the model the file's bytes, and the client its text."""
        form = await self._read_form()
        targets = await self.targets_of(transcription.read_model(form))

        async def call(target: Target, wait: Wait | None) -> tuple[str, bytes]:
            asked = transcription.render(form, target.dialect)
            invocation = self.invocation_of(target, asked.audio, wait, asked.audio_type)
            async with await self.services.sagemaker.invoke(invocation) as answer:
                said = bytearray()
                async for chunk in answer.chunks():
                    said += chunk
                    if len(said) > _MOST_ANSWER_BYTES:
                        raise UpstreamFailed("the model's answer is too large for a transcription")
                self.copy_headers(answer, ANSWER_HEADERS)
            return asked.content_type, asked.render_answer(bytes(said))

        content_type, body = await self.call_first(targets, call, self.new_wait())
        self.set_header("Content-Type", content_type)
        self.write(body)

    async def _read_form(self) -> Form:
        body, content_type = self.take_body(), self.request.headers.get("content-type", "")
        if len(body) < _LARGE_BYTES:
            return read_form(content_type, body)
        async with self.services.state.large_form:
            return await asyncio.to_thread(read_form, content_type, body)
