"""The endpoint slow-chat, and the request that it answers at an even pace for 20 seconds."""

from typing import Any

from tests.emulator.containers import openai_shapes
from tests.emulator.containers.chat_model import ChatModel

NAME = "slow-chat"
SECONDS = 20.0

REQUEST: dict[str, Any] = {
    "model": NAME,
    "messages": [{"role": "user", "content": "Tell me slowly what you are."}],
    "stream": True,
}


def token_delay() -> float:
    """How long it has to pause before each piece of its answer."""
    reply = ChatModel((NAME,)).chat(REQUEST)
    pieces = list(openai_shapes.chat_chunks(reply, "", include_usage=False))
    return SECONDS / len(pieces)
