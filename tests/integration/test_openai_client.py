"""The official OpenAI client works against the proxy, sync and async, errors included."""

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.emulator.emulator import Emulator
from tests.integration.running import RunningProxy

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Grüße, 世界! 🌍"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(params=["/v1", ""], ids=["v1", "classic"])
def base_url(request: pytest.FixtureRequest, proxy: RunningProxy) -> str:
    return f"{proxy.url}{request.param}"


def connect(proxy: RunningProxy, base_url: str, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(
        **{"api_key": proxy.key, "base_url": base_url, "max_retries": 0, **options},
        http_client=openai.DefaultHttpxClient(verify=proxy.client_context()),
    )


@pytest.fixture
def client(proxy: RunningProxy, base_url: str) -> Iterator[openai.OpenAI]:
    with connect(proxy, base_url) as client:
        yield client


@pytest.fixture
def v1(proxy: RunningProxy) -> Iterator[openai.OpenAI]:
    with connect(proxy, f"{proxy.url}/v1") as client:
        yield client


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [
        "demo-chat",
        "demo-echo",
        "demo-regression",
        "slow-chat",
    ]
    assert client.models.retrieve("demo-echo").owned_by == "sagemaker"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_a_chat_is_answered_with_usage(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="demo-chat", messages=HELLO)
    assert "Grüße, 世界! 🌍" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 5


def test_a_stream_gives_the_same_text_as_the_whole_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="demo-chat", messages=HELLO)
    stream = client.chat.completions.create(
        model="demo-chat",
        messages=HELLO,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len(chunks) > 10
    assert chunks[-1].usage == whole.usage


def test_tools_are_called_and_their_results_used(v1: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "use get_weather for Berlin"}]
    answer = v1.chat.completions.create(model="demo-chat", messages=messages, tools=[TOOL])
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"

    stream = v1.chat.completions.create(
        model="demo-chat", messages=messages, tools=[TOOL], stream=True
    )
    arguments = "".join(
        part.function.arguments or ""
        for chunk in stream
        for part in chunk.choices[0].delta.tool_calls or []
        if part.function
    )
    assert arguments == call.function.arguments

    messages += [
        answer.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": "sunny, 21 degrees"},
    ]
    final = v1.chat.completions.create(model="demo-chat", messages=messages, tools=[TOOL])
    assert final.choices[0].finish_reason == "stop"
    assert final.choices[0].message.content


def test_what_the_client_sends_reaches_the_container_to_the_byte(
    v1: openai.OpenAI, emulator: Emulator
) -> None:
    v1.chat.completions.create(
        model="demo-echo",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0"}},
                ],
            }
        ],
        response_format={"type": "json_object"},
        extra_body={"guided_regex": "[a-z]+", "top_k": 5, "chat_template_kwargs": {"x": None}},
    )
    sent = emulator.calls("demo-echo")[-1].body
    assert b'"image_url":{"url":"data:image/png;base64,iVBORw0"}' in sent
    assert b'"guided_regex":"[a-z]+"' in sent
    assert b'"response_format":{"type":"json_object"}' in sent


async def test_the_async_client_streams_many_at_once(proxy: RunningProxy) -> None:
    async with openai.AsyncOpenAI(
        api_key=proxy.key,
        base_url=f"{proxy.url}/v1",
        http_client=openai.DefaultAsyncHttpxClient(verify=proxy.client_context()),
    ) as client:

        async def ask(question: str) -> str:
            stream = await client.chat.completions.create(
                model="demo-chat",
                messages=[{"role": "user", "content": question}],
                stream=True,
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        questions = [f"question number {number}" for number in range(20)]
        answers = await asyncio.gather(*map(ask, questions))
    for question, answer in zip(questions, answers, strict=True):
        assert question in answer


def test_a_wrong_key_is_an_authentication_error(proxy: RunningProxy, base_url: str) -> None:
    with (
        connect(proxy, base_url, api_key="wrong") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.chat.completions.create(model="demo-chat", messages=HELLO)
    assert caught.value.code == "invalid_api_key"


def test_an_unknown_model_is_a_not_found_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=HELLO)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


def test_the_containers_own_refusal_is_a_bad_request_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="demo-chat", messages=[])
    assert caught.value.type == "BadRequestError"


@pytest.mark.parametrize("stream", [False, True])
def test_throttling_is_a_rate_limit_error(
    v1: openai.OpenAI, emulator: Emulator, stream: bool
) -> None:
    emulator.set_fault("demo-chat", "throttled_null", times=None)
    with pytest.raises(openai.RateLimitError) as caught:
        v1.chat.completions.create(model="demo-chat", messages=HELLO, stream=stream)
    assert int(caught.value.response.headers["Retry-After"]) >= 1


def test_the_clients_own_retry_outlasts_throttling(proxy: RunningProxy, emulator: Emulator) -> None:
    # The proxy tries three times; the fourth call is the client's second.
    emulator.set_fault("demo-chat", "throttled", times=3)
    with connect(proxy, f"{proxy.url}/v1", max_retries=2) as client:
        assert client.chat.completions.create(model="demo-chat", messages=HELLO).choices


def test_a_slow_model_is_a_time_out_of_the_client(proxy: RunningProxy, emulator: Emulator) -> None:
    emulator.set_fault("demo-chat", "slow_first_byte", seconds=5)
    with (
        connect(proxy, f"{proxy.url}/v1", timeout=0.3) as client,
        pytest.raises(openai.APITimeoutError),
    ):
        client.chat.completions.create(model="demo-chat", messages=HELLO)


def test_a_stream_that_breaks_is_an_api_error(v1: openai.OpenAI, emulator: Emulator) -> None:
    emulator.set_fault("slow-chat", "stream_break", after=10)
    stream = v1.chat.completions.create(model="slow-chat", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError, match="connection to SageMaker broke"):
        list(stream)


def test_an_unverified_certificate_is_a_connection_error(proxy: RunningProxy) -> None:
    client = openai.OpenAI(
        api_key=proxy.key,
        base_url=f"{proxy.url}/v1",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(verify=ssl.create_default_context()),
    )
    with client, pytest.raises(openai.APIConnectionError):
        client.models.list()
