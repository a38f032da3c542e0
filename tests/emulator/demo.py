"""The three models that a demo shows: a chat, an echo and a regression."""

from tests.emulator.containers import chat, echo, regression
from tests.emulator.emulator import Emulator


def demo_endpoints(emulator: Emulator, token_delay: float = 0.03) -> None:
    """Create the demo's endpoints; the delay is the chat model's, in seconds a token."""
    emulator.add_endpoint("demo-chat", chat.application(("demo-chat",), token_delay))
    emulator.add_endpoint("demo-echo", echo.application())
    emulator.add_endpoint("demo-regression", regression.application())
