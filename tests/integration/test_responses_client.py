"""The official OpenAI client's Responses work against the proxy, sync and async, with any model."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest
from openai.types.responses import Response

from tests.emulator.containers import agent, scripted
from tests.emulator.containers.agent import ANNOUNCEMENT, BALANCES, REASONING, RESULT, TASK, Bank
from tests.emulator.emulator import Emulator
from tests.integration.agents import add_models, serving
from tests.integration.running import RunningProxy
from tests.integration.scraping import scrape

LIMITED = "3f0f3b52-6d8e-4c0e-8d6b-1f1f5b1f5a77"

HELLO = "Grüße, 世界! 🌍"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
    "strict": False,
}
TOOLS: Any = [
    {"type": "function", "name": name, "description": description, "parameters": schema}
    for name, description, schema in agent.TOOLS
]
# What Codex says in each request beside its conversation and its tools.
LIKE_CODEX: Any = {
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "01a2203c-499f-70f3-adec-4923df56c5ae",
    "extra_body": {"client_metadata": {"turn_id": "1"}},
    "extra_headers": {"originator": "codex_exec", "session-id": "1", "x-codex-window-id": "1:0"},
}


class City(pydantic.BaseModel):
    name: str
    inhabitants: int


def chunk(**said: Any) -> bytes:
    return f"data: {json.dumps(said)}\n\n".encode()


def delta(content: str, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}
    return chunk(choices=[choice])


CITY = '{"name": "Bonn", "inhabitants": 330000}'


@pytest.fixture(scope="module")
def deployed(emulator: Emulator) -> Emulator:
    add_models(emulator)
    emulator.add_endpoint("city", scripted.application(delta(CITY, "stop"), b"data: [DONE]\n\n"))
    return emulator


@pytest.fixture(scope="module")
def proxy(deployed: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    with serving(deployed, tmp_path_factory.mktemp("proxy"), LIMITED, 2) as proxy:
        yield proxy


def options(proxy: RunningProxy, **more: Any) -> dict[str, Any]:
    return {"api_key": proxy.key, "base_url": f"{proxy.url}/v1", "max_retries": 0, **more}


@pytest.fixture(scope="module")
def client(proxy: RunningProxy) -> Iterator[openai.OpenAI]:
    with (
        openai.DefaultHttpxClient(verify=proxy.client_context()) as http,
        openai.OpenAI(**options(proxy, http_client=http)) as client,
    ):
        yield client


def item_types(response: Response) -> list[str]:
    return [item.type for item in response.output]


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["/v1", ""])
def test_an_answer_is_that_of_the_chat(
    proxy: RunningProxy, client: openai.OpenAI, base: str
) -> None:
    completion = client.chat.completions.create(
        model="demo-chat", messages=[{"role": "user", "content": HELLO}]
    )
    response = client.with_options(base_url=f"{proxy.url}{base}").responses.create(
        model="demo-chat", input=HELLO
    )
    assert response.output_text == completion.choices[0].message.content
    assert (response.id[:5], response.model, response.status) == (
        "resp_",
        "demo-chat",
        "completed",
    )
    assert response.to_dict()["store"] is False
    assert response.usage
    assert completion.usage
    assert response.usage.input_tokens == completion.usage.prompt_tokens
    assert response.usage.output_tokens == completion.usage.completion_tokens
    assert response.usage.total_tokens == completion.usage.total_tokens


@pytest.mark.parametrize("model", ["demo-chat", "lmi", "templated", "renamed"])
def test_a_stream_is_the_same_answer(client: openai.OpenAI, model: str) -> None:
    whole = client.responses.create(model=model, input=HELLO, max_output_tokens=200)
    with client.responses.stream(model=model, input=HELLO, max_output_tokens=200) as stream:
        events = list(stream)
        response = stream.get_final_response()
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(pieces) == response.output_text == whole.output_text
    assert len(pieces) > 10
    assert (response.model, response.status) == (model, "completed")
    assert response.usage
    assert response.usage.input_tokens > 0
    if model != "templated":  # TGI tells the prompt's tokens of a stream alone
        assert response.usage == whole.usage


def test_a_plain_stream_has_the_events_in_their_order(client: openai.OpenAI) -> None:
    stream = client.responses.create(
        model="demo-chat", input=HELLO, stream=True, max_output_tokens=1
    )
    events = list(stream)
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details
    assert last.response.incomplete_details.reason == "max_output_tokens"


def test_items_and_options_reach_the_container_as_a_chat_has_them(
    client: openai.OpenAI, deployed: Emulator
) -> None:
    image = "data:image/png;base64,iVBORw0"
    client.responses.create(
        model="demo-chat",
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": "Be exact."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is it?"},
                    {"type": "input_image", "image_url": image, "detail": "auto"},
                ],
            },
        ],
        max_output_tokens=20,
        temperature=0.5,
        reasoning={"effort": "low"},
        text={"format": {"type": "json_object"}},
    )
    assert json.loads(deployed.calls("demo-chat")[-1].body) == {
        "model": "demo-chat",
        "messages": [
            {"role": "system", "content": "Be brief.\n\nBe exact."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": image, "detail": "auto"}},
                ],
            },
        ],
        "max_tokens": 20,
        "temperature": 0.5,
        "reasoning_effort": "low",
        "response_format": {"type": "json_object"},
    }


def test_a_function_that_is_chosen_is_called(client: openai.OpenAI) -> None:
    asked: Any = {
        "model": "demo-chat",
        "input": "And in Berlin?",
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "get_weather"},
    }
    (call,) = client.responses.create(**asked).output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Berlin"})
    with client.responses.stream(**asked) as stream:
        (same,) = stream.get_final_response().output
    assert same.type == "function_call"
    assert (same.name, same.arguments) == (call.name, call.arguments)


@pytest.mark.parametrize("model", ["demo-chat", "lmi"])
def test_structured_output_is_asked_of_the_container(
    client: openai.OpenAI, deployed: Emulator, model: str
) -> None:
    client.responses.create(
        model=model,
        input=HELLO,
        text={"format": {"type": "json_schema", "name": "c", "schema": City.model_json_schema()}},
    )
    sent = json.loads(deployed.calls(model)[-1].body)["response_format"]
    assert sent["json_schema"] == {"name": "c", "schema": City.model_json_schema()}


def test_structured_output_is_parsed(client: openai.OpenAI) -> None:
    with client.responses.stream(model="city", input="Which?", text_format=City) as stream:
        assert stream.get_final_response().output_parsed == City(name="Bonn", inhabitants=330000)


def test_a_container_that_does_not_stream_when_asked_to(client: openai.OpenAI) -> None:
    with client.responses.stream(model="whole", input=HELLO) as stream:
        response = stream.get_final_response()
    assert (response.output_text, response.status) == ("All.", "completed")
    assert response.usage
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 4)


# --- an agent ------------------------------------------------------------------------------------


def use_tools(bank: Bank, response: Response) -> list[Any]:
    """The items to add to the input: what the model has said, and what came of its calls."""
    results = []
    for item in response.output:
        if item.type == "function_call":
            text, failed = bank.call(item.name, json.loads(item.arguments))
            output = f"Error: {text}" if failed else text
            results.append(
                {"type": "function_call_output", "call_id": item.call_id, "output": output}
            )
    return [*response.output, *results]


def first_request(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "instructions": "Be exact.",
        "input": [{"role": "user", "content": TASK}],
        "tools": TOOLS,
        **LIKE_CODEX,
    }


def calls_a_tool(response: Response) -> bool:
    return "function_call" in item_types(response)


def check_agent(bank: Bank, turns: list[Response]) -> None:
    """The task was done in four turns: a call, three at once, one again, and the result."""
    assert [item_types(turn) for turn in turns] == [
        ["reasoning", "message", "function_call"],
        ["function_call"] * 3,
        ["function_call"],
        ["message"],
    ]
    thought = turns[0].output[0]
    assert thought.type == "reasoning"
    assert [part.text for part in thought.content or []] == [REASONING]
    assert [turn.output_text for turn in turns] == [ANNOUNCEMENT, "", "", RESULT]
    assert bank.calls == [
        ("list_accounts", {}),
        *(("read_balance", {"account": account}) for account in BALANCES),
        ("read_balance", {"account": "food"}),
    ]
    ids = [turn.id for turn in turns] + [item.id for turn in turns for item in turn.output]
    assert len(set(ids)) == len(ids)
    for turn in turns:
        assert turn.usage
        cached = turn.usage.input_tokens_details.cached_tokens
        assert turn.usage.input_tokens - 2 * cached in (0, 1)
        assert turn.usage.output_tokens > 0


@pytest.mark.parametrize("model", ["agent", "long"])
def test_an_agent_does_its_task(client: openai.OpenAI, model: str) -> None:
    bank, request = Bank(), first_request(model)
    turns: list[Response] = []
    while not turns or calls_a_tool(turns[-1]):
        turns.append(client.responses.create(**request))
        request["input"] += use_tools(bank, turns[-1])
    check_agent(bank, turns)


@pytest.mark.parametrize("model", ["agent", "backed"])
def test_an_agent_that_streams_does_it(client: openai.OpenAI, model: str) -> None:
    bank, request = Bank(), first_request(model)
    turns: list[Response] = []
    while not turns or calls_a_tool(turns[-1]):
        with client.responses.stream(**request) as stream:
            turns.append(stream.get_final_response())
        request["input"] += use_tools(bank, turns[-1])
    check_agent(bank, turns)


def test_one_that_reads_the_items_as_they_end_does_it(client: openai.OpenAI) -> None:
    """As Codex does: what ``response.output_item.done`` has goes back, without its status."""
    bank, request = Bank(), first_request("agent")
    called, text = True, ""
    while called:
        items, results = [], []
        for event in client.responses.create(stream=True, **request):
            if event.type == "response.output_item.done":
                item = event.item.to_dict()
                item.pop("status")
                items.append(item)
                if event.item.type == "function_call":
                    arguments = json.loads(event.item.arguments)
                    result, failed = bank.call(event.item.name, arguments)
                    results.append(
                        {
                            "type": "function_call_output",
                            "call_id": event.item.call_id,
                            "output": [
                                {"type": "input_text", "text": f"{'Error: ' * failed}{result}"}
                            ],
                        }
                    )
            elif event.type == "response.completed":
                text = event.response.output_text
        request["input"] += [*items, *results]
        called = bool(results)
    assert text == RESULT
    assert len(bank.calls) == len(BALANCES) + 2


async def test_asynchronous_agents_do_it_at_the_same_time(proxy: RunningProxy) -> None:
    async with (
        openai.DefaultAsyncHttpxClient(verify=proxy.client_context()) as http,
        openai.AsyncOpenAI(**options(proxy, http_client=http)) as client,
    ):

        async def work(*, streams: bool) -> tuple[Bank, list[Response]]:
            bank, request = Bank(), first_request("agent")
            turns: list[Response] = []
            while not turns or calls_a_tool(turns[-1]):
                if streams:
                    async with client.responses.stream(**request) as stream:
                        turns.append(await stream.get_final_response())
                else:
                    turns.append(await client.responses.create(**request))
                request["input"] += use_tools(bank, turns[-1])
            return bank, turns

        for bank, turns in await asyncio.gather(work(streams=True), work(streams=False)):
            check_agent(bank, turns)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_clients_own_classes(
    client: openai.OpenAI, deployed: Emulator, stream: bool
) -> None:
    def ask(model: str = "demo-chat", **more: Any) -> Any:
        return client.responses.create(model=model, input=HELLO, stream=stream, **more)

    with pytest.raises(openai.NotFoundError) as not_found:
        ask("no-such-model")
    assert (not_found.value.code, not_found.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.AuthenticationError):
        ask(extra_headers={"Authorization": "Bearer nonsense"})
    with pytest.raises(openai.BadRequestError) as refused:
        ask(previous_response_id="resp_1")
    assert (refused.value.code, refused.value.param) == ("invalid_request", "previous_response_id")
    with pytest.raises(openai.BadRequestError, match="web_search") as unknown:
        ask(tools=[WEATHER, {"type": "web_search"}])
    assert unknown.value.param == "tools.1.type"
    with pytest.raises(openai.APIStatusError) as failed:
        ask("fails")
    assert failed.value.status_code == 502
    deployed.set_fault("demo-chat", "not_ready", times=None)
    with pytest.raises(openai.APIStatusError) as asleep:
        ask()
    assert asleep.value.status_code == 503


def test_what_the_container_refuses_is_in_its_own_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="these tools are no use") as refused:
        client.responses.create(model="agent", input=HELLO)
    assert refused.value.type == "BadRequestError"


def test_what_a_dialect_cannot_is_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"'tgi'.*'tools'"):
        client.responses.create(model="templated", input=HELLO, tools=[WEATHER])


@pytest.mark.parametrize(
    ("fault", "told"), [("stream_break", "SageMaker broke"), ("stream_end_early", "stream ended")]
)
def test_a_failure_in_a_stream_is_an_event(
    client: openai.OpenAI, deployed: Emulator, fault: str, told: str
) -> None:
    deployed.set_fault("slow-chat", fault, after=40)
    events = list(client.responses.create(model="slow-chat", input=HELLO, stream=True))
    said = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert said
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.status == "failed"
    assert last.response.error
    assert last.response.error.code == "server_error"
    assert told in last.response.error.message
    assert last.response.output_text == "".join(said)


def test_an_answer_cannot_be_had_again(client: openai.OpenAI) -> None:
    response = client.responses.create(model="demo-chat", input=HELLO, store=True)
    for again in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            again(response.id)


# --- limits, log and metrics ---------------------------------------------------------------------


def test_a_keys_limits_hold(proxy: RunningProxy) -> None:
    with (
        openai.DefaultHttpxClient(verify=proxy.client_context()) as http,
        openai.OpenAI(**options(proxy, api_key=LIMITED, http_client=http)) as client,
    ):
        answered = client.responses.with_raw_response.create(model="demo-chat", input=HELLO)
        assert answered.headers["x-ratelimit-limit-requests"] == "2"
        with pytest.raises(openai.NotFoundError):
            client.responses.create(model="agent", input=HELLO)
        with pytest.raises(openai.RateLimitError) as limited:
            client.responses.create(model="demo-chat", input=HELLO)
        assert int(limited.value.response.headers["retry-after"]) > 0


@pytest.mark.parametrize("stream", [False, True])
def test_log_and_metrics_tell_of_it_as_of_a_chat(
    proxy: RunningProxy, client: openai.OpenAI, stream: bool
) -> None:
    before = scrape(proxy)
    answered = client.responses.with_raw_response.create(
        model="demo-chat",
        input=HELLO,
        max_output_tokens=5,
        stream=stream,
        extra_headers={"x-request-id": f"counted-{stream}"},
    )
    assert b"output_tokens" in answered.http_response.read()
    entry = proxy.wait_for_request(f"counted-{stream}")
    told = (entry["route"], entry["model"], entry["key"], entry["completion_tokens"])
    assert told == ("/v1/responses", "demo-chat", "default", 5)
    after = scrape(proxy)
    labels = {"route": "/v1/responses", "model": "demo-chat", "status": "2xx"}
    for name, more, added in (
        ("requests_total", labels, 1),
        ("tokens_total", {"model": "demo-chat", "kind": "completion"}, 5),
        ("key_tokens_total", {"key": "default", "kind": "completion"}, 5),
    ):
        assert after.value(name, **more) == before.value(name, **more) + added
