"""A container whose model does one task with two tools, and what the client's side of it is.

The model reasons, calls a tool, then several at once, calls again what has failed, and says the
sum. It refuses a conversation that is not one: results without calls, calls without results, and
arguments or reasoning that it has not said.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from aiohttp import web

from tests.emulator.containers import openai_shapes as shapes
from tests.emulator.containers import wording
from tests.emulator.containers.chat_model import RequestError

Json = dict[str, Any]

BALANCES = {"rent": -900, "food": -250.5, "wages": 2400}
TASK = "What is the balance of all accounts together? Use the tools."
REASONING = "First I need the names of the accounts."
ANNOUNCEMENT = "Let me look that up."
RESULT = "All accounts together: 1249.5."

# Name, description and the parameters' JSON schema of each tool.
TOOLS: tuple[tuple[str, str, Json], ...] = (
    ("list_accounts", "The names of all accounts", {"type": "object", "properties": {}}),
    (
        "read_balance",
        "The balance of one account",
        {
            "type": "object",
            "properties": {"account": {"type": "string"}},
            "required": ["account"],
        },
    ),
)


class Bank:
    """What the client's tools do. The first look at one account fails."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Json]] = []

    def call(self, name: str, arguments: Json) -> tuple[str, bool]:
        """A tool's result, and whether it has failed."""
        is_first = (name, arguments) not in self.calls
        self.calls.append((name, arguments))
        if name == "list_accounts":
            return json.dumps(list(BALANCES)), False
        if arguments["account"] == "food" and is_first:
            return "the vault is locked, try again", True
        return str(BALANCES[arguments["account"]]), False


@dataclass
class _Turn:
    """What the model says next."""

    prompt_tokens: int
    reasoning: str = ""
    text: str = ""
    calls: list[tuple[str, Json]] = field(default_factory=list)
    id: str = ""

    def tool_calls(self) -> list[Json]:
        return [
            {
                "id": f"call_{self.id}_{index}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for index, (name, arguments) in enumerate(self.calls)
        ]

    @property
    def finish_reason(self) -> str:
        return "tool_calls" if self.calls else "stop"

    @property
    def usage(self) -> Json:
        said = self.reasoning + self.text + json.dumps(self.calls)
        spoken = len(wording.tokens(said))
        counts = shapes.Usage(self.prompt_tokens, spoken).json()
        return {**counts, "prompt_tokens_details": {"cached_tokens": self.prompt_tokens // 2}}

    def message(self) -> Json:
        message: Json = {"role": "assistant", "content": self.text or None}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.calls:
            message["tool_calls"] = self.tool_calls()
        return message

    def deltas(self) -> Iterator[Json]:
        yield {"role": "assistant", "content": ""}
        for token in wording.tokens(self.reasoning):
            yield {"reasoning_content": token}
        for token in wording.tokens(self.text):
            yield {"content": token}
        for index, call in enumerate(self.tool_calls()):
            function = call["function"]
            start = {**call, "function": {"name": function["name"], "arguments": ""}}
            yield {"tool_calls": [{"index": index, **start}]}
            arguments = function["arguments"]
            for at in range(0, len(arguments), 5):
                piece = {"arguments": arguments[at : at + 5]}
                yield {"tool_calls": [{"index": index, "function": piece}]}


def _next_turn(body: Json) -> _Turn:
    offered = {tool["function"]["name"] for tool in body.get("tools", ())}
    if offered != {name for name, _, _ in TOOLS}:
        raise _refused(f"these tools are no use: {sorted(offered)}")
    messages = body["messages"]
    text = json.dumps(messages)
    turn = _Turn(len(wording.tokens(text)), id=sha256(text.encode()).hexdigest()[:8])
    results = _results(messages)
    if not results:
        turn.reasoning, turn.text = REASONING, ANNOUNCEMENT
        turn.calls = [("list_accounts", {})]
        return turn
    balances: dict[str, float] = {}
    for name, arguments, said in results:
        if name == "read_balance" and not said.lower().startswith("error"):
            balances[arguments["account"]] = float(said)
    accounts = json.loads(results[0][2])
    missing = [account for account in accounts if account not in balances]
    turn.calls = [("read_balance", {"account": account}) for account in missing]
    if not missing:
        turn.text = f"All accounts together: {sum(balances.values())}."
    return turn


def _results(messages: Sequence[Json]) -> list[tuple[str, Json, str]]:
    """Each call's name, its arguments, and what came of it."""
    results = []
    open_calls: dict[str, tuple[str, Json]] = {}
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise _refused(f"nobody called {message['tool_call_id']}")
            name, arguments = open_calls.pop(message["tool_call_id"])
            results.append((name, arguments, message["content"]))
            continue
        if open_calls:
            raise _refused(f"there is no result of {sorted(open_calls)}")
        if message["role"] == "assistant":
            if message.get("reasoning_content") not in (None, REASONING):
                raise _refused("the model has not reasoned so")
            for call in message.get("tool_calls") or ():
                function = call["function"]
                open_calls[call["id"]] = (function["name"], json.loads(function["arguments"]))
    if open_calls:
        raise _refused(f"there is no result of {sorted(open_calls)}")
    return results


def _refused(why: str) -> RequestError:
    return RequestError(400, "BadRequestError", why)


async def _invocations(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    try:
        turn = _next_turn(body)
    except RequestError as exc:
        answer = shapes.error(exc.status, exc.kind, str(exc))
        return web.json_response(answer, status=exc.status)
    head = {"id": f"chatcmpl-{turn.id}", "created": 1, "model": body["model"]}
    if not body.get("stream"):
        choice = {"index": 0, "message": turn.message(), "finish_reason": turn.finish_reason}
        completion = {**head, "object": "chat.completion", "choices": [choice]}
        return web.json_response({**completion, "usage": turn.usage})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    head["object"] = "chat.completion.chunk"
    for delta in turn.deltas():
        chunk = {"index": 0, "delta": delta, "finish_reason": None}
        await response.write(_event({**head, "choices": [chunk]}))
        await asyncio.sleep(0)
    last = {"index": 0, "delta": {}, "finish_reason": turn.finish_reason}
    await response.write(_event({**head, "choices": [last]}))
    if (body.get("stream_options") or {}).get("include_usage"):
        await response.write(_event({**head, "choices": [], "usage": turn.usage}))
    await response.write(b"data: [DONE]\n\n")
    return response


def _event(chunk: Json) -> bytes:
    return f"data: {shapes.dumps(chunk)}\n\n".encode()


async def _ping(request: web.Request) -> web.Response:
    return web.Response()


def application() -> web.Application:
    """Build the container."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.add_routes([web.get("/ping", _ping), web.post("/invocations", _invocations)])
    return app
