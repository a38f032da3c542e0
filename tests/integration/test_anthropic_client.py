"""The official Anthropic client works against the proxy, sync and async, with any chat model."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
import requests

from tests.emulator.containers import agent
from tests.emulator.containers.agent import BALANCES, REASONING, RESULT, TASK, Bank
from tests.emulator.emulator import Emulator
from tests.integration.agents import NO_USAGE, add_models, answering, serving
from tests.integration.running import RunningProxy
from tests.integration.scraping import scrape

LIMITED = "0b9c1f5e-4b0a-4f1c-9a53-3a3b6b6f6c1d"

HELLO: Any = [{"role": "user", "content": "Grüße, 世界! 🌍"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Weather in a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
TOOLS: Any = [
    {"name": name, "description": description, "input_schema": schema}
    for name, description, schema in agent.TOOLS
]


@pytest.fixture(scope="module")
def deployed(emulator: Emulator) -> Emulator:
    add_models(emulator)
    emulator.add_endpoint("silent", answering(NO_USAGE))
    emulator.add_endpoint("nonsense", answering({"hello": "world"}))
    return emulator


@pytest.fixture(scope="module")
def proxy(deployed: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    with serving(deployed, tmp_path_factory.mktemp("proxy"), LIMITED, 1) as proxy:
        yield proxy


def options(proxy: RunningProxy, **more: Any) -> dict[str, Any]:
    return {"api_key": proxy.key, "base_url": proxy.url, "max_retries": 0, **more}


@pytest.fixture(scope="module")
def client(proxy: RunningProxy) -> Iterator[anthropic.Anthropic]:
    with (
        anthropic.DefaultHttpxClient(verify=proxy.client_context()) as http,
        anthropic.Anthropic(**options(proxy, http_client=http)) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def chat(proxy: RunningProxy) -> Iterator[openai.OpenAI]:
    with (
        openai.DefaultHttpxClient(verify=proxy.client_context()) as http,
        openai.OpenAI(
            api_key=proxy.key, base_url=f"{proxy.url}/v1", max_retries=0, http_client=http
        ) as client,
    ):
        yield client


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


# --- answers -------------------------------------------------------------------------------------


def test_an_answer_is_that_of_the_chat(client: anthropic.Anthropic, chat: openai.OpenAI) -> None:
    same: Any = {"model": "demo-chat", "max_tokens": 200, "messages": HELLO}
    message = client.messages.create(**same)
    completion = chat.chat.completions.create(**same)
    assert completion.usage
    assert text_of(message) == completion.choices[0].message.content
    assert (message.id[:4], message.model, message.role) == ("msg_", "demo-chat", "assistant")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.input_tokens == completion.usage.prompt_tokens
    assert message.usage.output_tokens == completion.usage.completion_tokens


@pytest.mark.parametrize("model", ["demo-chat", "lmi", "templated", "renamed"])
def test_a_stream_is_the_same_answer(client: anthropic.Anthropic, model: str) -> None:
    whole = client.messages.create(model=model, max_tokens=200, messages=HELLO)
    with client.messages.stream(model=model, max_tokens=200, messages=HELLO) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert "".join(pieces) == text_of(message) == text_of(whole)
    assert len(pieces) > 10
    assert message.model == model
    assert message.stop_reason == whole.stop_reason == "end_turn"
    # TGI tells the prompt's tokens of a stream alone.
    assert message.usage.input_tokens > 0
    if model != "templated":
        assert message.usage == whole.usage


def test_too_few_tokens_are_told(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model="demo-chat", max_tokens=3, messages=HELLO)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 3)


def test_an_image_reaches_the_container_as_a_chat_has_it(
    client: anthropic.Anthropic, deployed: Emulator
) -> None:
    data = base64.b64encode(b"\x89PNG").decode()
    source: Any = {"type": "base64", "media_type": "image/png", "data": data}
    content: Any = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    client.messages.create(
        model="demo-chat", max_tokens=20, messages=[{"role": "user", "content": content}]
    )
    body = json.loads(deployed.calls("demo-chat")[-1].body)
    assert body["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "text", "text": "What is it?"},
    ]


def test_a_tool_that_is_chosen_is_called(client: anthropic.Anthropic) -> None:
    asked: Any = {
        "model": "demo-chat",
        "max_tokens": 200,
        "messages": [{"role": "user", "content": "And in Berlin?"}],
        "tools": [WEATHER],
        "tool_choice": {"type": "tool", "name": "get_weather"},
    }
    message = client.messages.create(**asked)
    (call,) = message.content
    assert call.type == "tool_use"
    assert (call.name, call.input, message.stop_reason) == (
        "get_weather",
        {"city": "Berlin"},
        "tool_use",
    )
    with client.messages.stream(**asked) as stream:
        (streamed,) = stream.get_final_message().content
    assert streamed.type == "tool_use"
    assert (streamed.name, streamed.input) == (call.name, call.input)


def test_a_container_that_does_not_stream_is_streamed_at_once(
    client: anthropic.Anthropic,
) -> None:
    with client.messages.stream(model="whole", max_tokens=9, messages=HELLO) as stream:
        message = stream.get_final_message()
    assert (text_of(message), message.stop_reason) == ("All.", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 4)


# --- an agent ------------------------------------------------------------------------------------


def use_tools(bank: Bank, message: anthropic.types.Message) -> list[Any]:
    """The next two messages: what the model has said, and what came of its calls."""
    results = []
    for block in message.content:
        if block.type == "tool_use":
            text, failed = bank.call(block.name, block.input)
            results.append(
                {
                    "type": "tool_result",
                    "tool_use_id": block.id,
                    "content": [{"type": "text", "text": text}],
                    "is_error": failed,
                }
            )
    return [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]


def first_request(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "max_tokens": 1000,
        "system": [{"type": "text", "text": "Be exact.", "cache_control": {"type": "ephemeral"}}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [{"role": "user", "content": TASK}],
        "tools": TOOLS,
    }


def check_agent(bank: Bank, turns: list[anthropic.types.Message]) -> None:
    """The task was done in four turns: a call, three at once, one again, and the result."""
    assert [turn.stop_reason for turn in turns] == ["tool_use"] * 3 + ["end_turn"]
    assert [block.type for block in turns[0].content] == ["thinking", "text", "tool_use"]
    thought = turns[0].content[0]
    assert thought.type == "thinking"
    assert (thought.thinking, bool(thought.signature)) == (REASONING, True)
    assert [block.type for block in turns[1].content] == ["tool_use"] * 3
    assert text_of(turns[-1]) == RESULT
    assert bank.calls == [
        ("list_accounts", {}),
        *(("read_balance", {"account": account}) for account in BALANCES),
        ("read_balance", {"account": "food"}),
    ]
    for turn in turns:
        assert turn.usage.cache_read_input_tokens
        assert turn.usage.input_tokens - turn.usage.cache_read_input_tokens in (0, 1)
        assert turn.usage.output_tokens > 0


@pytest.mark.parametrize("model", ["agent", "long"])
def test_an_agent_does_its_task(client: anthropic.Anthropic, model: str) -> None:
    bank, request = Bank(), first_request(model)
    turns: list[anthropic.types.Message] = []
    while not turns or turns[-1].stop_reason == "tool_use":
        turns.append(client.messages.create(**request))
        request["messages"] += use_tools(bank, turns[-1])
    check_agent(bank, turns)


@pytest.mark.parametrize("model", ["agent", "backed"])
def test_an_agent_that_streams_does_it(client: anthropic.Anthropic, model: str) -> None:
    bank, request = Bank(), first_request(model)
    turns: list[anthropic.types.Message] = []
    while not turns or turns[-1].stop_reason == "tool_use":
        with client.messages.stream(**request) as stream:
            turns.append(stream.get_final_message())
        request["messages"] += use_tools(bank, turns[-1])
    check_agent(bank, turns)


async def test_asynchronous_agents_do_it_at_the_same_time(proxy: RunningProxy) -> None:
    async with (
        anthropic.DefaultAsyncHttpxClient(verify=proxy.client_context()) as http,
        anthropic.AsyncAnthropic(**options(proxy, http_client=http)) as client,
    ):

        async def work(*, streams: bool) -> tuple[Bank, list[anthropic.types.Message]]:
            bank, request = Bank(), first_request("agent")
            turns: list[anthropic.types.Message] = []
            while not turns or turns[-1].stop_reason == "tool_use":
                if streams:
                    async with client.messages.stream(**request) as stream:
                        turns.append(await stream.get_final_message())
                else:
                    turns.append(await client.messages.create(**request))
                request["messages"] += use_tools(bank, turns[-1])
            return bank, turns

        for bank, turns in await asyncio.gather(work(streams=True), work(streams=False)):
            check_agent(bank, turns)


def test_the_clients_own_tool_runner_does_it(client: anthropic.Anthropic) -> None:
    bank = Bank()

    @anthropic.beta_tool
    def list_accounts() -> str:
        """The names of all accounts."""
        return bank.call("list_accounts", {})[0]

    @anthropic.beta_tool
    def read_balance(account: str) -> str:
        """The balance of one account."""
        text, failed = bank.call("read_balance", {"account": account})
        if failed:
            raise RuntimeError(text)
        return text

    request: Any = {**first_request("agent"), "tools": [list_accounts, read_balance]}
    final = client.beta.messages.tool_runner(**request).until_done()
    assert [block.text for block in final.content if block.type == "text"] == [RESULT]


# --- counting ------------------------------------------------------------------------------------


def test_the_container_counts_a_prompt(client: anthropic.Anthropic) -> None:
    asked: Any = {"model": "agent", "messages": HELLO, "tools": TOOLS, "system": "Be exact."}
    counted = client.messages.count_tokens(**asked)
    answered = client.messages.create(max_tokens=20, **asked)
    cached = answered.usage.cache_read_input_tokens or 0
    assert counted.input_tokens == answered.usage.input_tokens + cached


def test_one_that_does_not_tell_is_named(client: anthropic.Anthropic) -> None:
    for model in ("silent", "templated"):
        with pytest.raises(anthropic.BadRequestError, match="does not tell how many tokens"):
            client.messages.count_tokens(model=model, messages=HELLO)


# --- keys and headers ----------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_neither_a_version_nor_a_beta_is_needed(
    proxy: RunningProxy, session: requests.Session, header: str
) -> None:
    headers: dict[str, Any] = {"Authorization": None, "X-API-Key": None}
    headers |= (
        {"X-API-Key": proxy.key}
        if header == "x-api-key"
        else {"Authorization": f"Bearer {proxy.key}", "anthropic-beta": "some-2026-01-01"}
    )
    body = {"model": "demo-chat", "max_tokens": 5, "messages": HELLO}
    answer = session.post(f"{proxy.url}/v1/messages?beta=true", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert answer.json()["type"] == "message"


def test_a_token_in_place_of_a_key(proxy: RunningProxy) -> None:
    with (
        anthropic.DefaultHttpxClient(verify=proxy.client_context()) as http,
        anthropic.Anthropic(
            **options(proxy, api_key=None, auth_token=proxy.key, http_client=http)
        ) as client,
    ):
        assert client.messages.create(model="demo-chat", max_tokens=5, messages=HELLO).content


def test_models_are_found_by_the_client(client: anthropic.Anthropic) -> None:
    assert client.models.retrieve("demo-chat").id == "demo-chat"
    assert "demo-chat" in [model.id for model in client.models.list()]


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_clients_own_classes(
    proxy: RunningProxy, client: anthropic.Anthropic, deployed: Emulator, stream: bool
) -> None:
    def ask(model: str = "demo-chat", **more: Any) -> Any:
        return client.messages.create(
            model=model, max_tokens=5, messages=HELLO, stream=stream, **more
        )

    with pytest.raises(anthropic.NotFoundError, match="no-such-model") as not_found:
        ask("no-such-model")
    assert not_found.value.body == {
        "type": "error",
        "error": {
            "type": "not_found_error",
            "message": "The model 'no-such-model' does not exist or you do not have access to it.",
        },
        "request_id": not_found.value.request_id,
    }
    with pytest.raises(anthropic.BadRequestError, match=r"container is not supported"):
        ask(extra_body={"container": {"id": "c"}})
    with pytest.raises(anthropic.APIStatusError) as failed:
        ask("nonsense")
    assert (failed.value.status_code, failed.value.type) == (502, "api_error")
    deployed.set_fault("demo-chat", "not_ready", times=None)
    with pytest.raises(anthropic.ServiceUnavailableError) as asleep:
        ask()
    assert asleep.value.type == "overloaded_error"
    deployed.clear_faults()


def test_a_wrong_key_is_told_in_the_clients_own_way(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.AuthenticationError, match="not valid") as refused:
        client.copy(api_key="nonsense").messages.create(
            model="demo-chat", max_tokens=5, messages=HELLO
        )
    assert refused.value.type == "authentication_error"


def test_what_the_container_refuses_is_in_its_own_words(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="these tools are no use") as refused:
        client.messages.create(model="agent", max_tokens=5, messages=HELLO)
    assert refused.value.type == "invalid_request_error"


def test_what_a_dialect_cannot_is_refused_by_name(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match=r"'tgi'.*'tools'"):
        client.messages.create(model="templated", max_tokens=5, messages=HELLO, tools=[WEATHER])


@pytest.mark.parametrize(
    ("fault", "kind"), [("stream_model_error", "timeout_error"), ("stream_break", "api_error")]
)
def test_a_failure_in_a_stream_is_an_error_event(
    client: anthropic.Anthropic, deployed: Emulator, fault: str, kind: str
) -> None:
    deployed.set_fault("slow-chat", fault, after=40)
    text = ""
    with (  # noqa: PT012
        pytest.raises(anthropic.APIStatusError) as failed,
        client.messages.stream(model="slow-chat", max_tokens=200, messages=HELLO) as stream,
    ):
        for piece in stream.text_stream:
            text += piece
    assert text
    assert (failed.value.status_code, failed.value.type) == (200, kind)


# --- limits, log and metrics ---------------------------------------------------------------------


def test_a_keys_limits_hold(proxy: RunningProxy) -> None:
    with (
        anthropic.DefaultHttpxClient(verify=proxy.client_context()) as http,
        anthropic.Anthropic(**options(proxy, api_key=LIMITED, http_client=http)) as client,
    ):
        asked: Any = {"max_tokens": 5, "messages": HELLO}
        answered = client.messages.with_raw_response.create(model="demo-chat", **asked)
        assert answered.headers["x-ratelimit-limit-requests"] == "1"
        with pytest.raises(anthropic.RateLimitError) as limited:
            client.messages.count_tokens(model="demo-chat", messages=HELLO)
        assert limited.value.type == "rate_limit_error"
        assert int(limited.value.response.headers["retry-after"]) > 0


@pytest.mark.parametrize("stream", [False, True])
def test_log_and_metrics_tell_of_it_as_of_a_chat(
    proxy: RunningProxy, client: anthropic.Anthropic, stream: bool
) -> None:
    before = scrape(proxy)
    answered = client.messages.with_raw_response.create(
        model="demo-chat",
        max_tokens=5,
        messages=HELLO,
        stream=stream,
        extra_headers={"x-request-id": f"counted-{stream}"},
    )
    assert b"output_tokens" in answered.http_response.read()
    entry = proxy.wait_for_request(f"counted-{stream}")
    told = (entry["route"], entry["model"], entry["key"], entry["completion_tokens"])
    assert told == ("/v1/messages", "demo-chat", "default", 5)
    after = scrape(proxy)
    labels = {"route": "/v1/messages", "model": "demo-chat", "status": "2xx"}
    for name, more, added in (
        ("requests_total", labels, 1),
        ("tokens_total", {"model": "demo-chat", "kind": "completion"}, 5),
        ("key_tokens_total", {"key": "default", "kind": "completion"}, 5),
    ):
        assert after.value(name, **more) == before.value(name, **more) + added
