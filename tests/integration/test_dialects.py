"""The official OpenAI client works with every kind of container, by its image or as configured."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
from openai.types.chat import ChatCompletion, ChatCompletionUserMessageParam

from tests.emulator.containers import huggingface, lmi, pooling, tei, tgi, wording
from tests.emulator.containers.huggingface import token_vectors
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.running import RunningProxy

AWS = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
LMI = f"{AWS}/djl-inference:0.33.0-lmi15.0.0-cu128"
TGI = f"{AWS}/huggingface-pytorch-tgi-inference:2.1.1-tgi1.4.2-gpu-py310-cu121-ubuntu22.04"
TEI = f"{AWS}/tei:2.0.1-tei1.8.0-gpu-py310-cu122-ubuntu22.04"
PIPELINE = f"{AWS}/huggingface-pytorch-inference:2.6.0-transformers4.51.3-gpu-py312-cu124"

XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"

SETTINGS = (
    QUICK
    + """
[models.templated]
endpoint = "tgi"
chat_template = "chatml"
[models.batched]
endpoint = "embedder"
batch_limit = 3
[models.first-token]
endpoint = "features"
pooling = "cls"
[models.long]
endpoint = "demo-chat"
long_requests = true
[models.long-lmi]
endpoint = "lmi"
long_requests = true
[models.told]
endpoint = "unknown"
dialect = "tei"
[models.broken]
endpoint = "breaks"
fallbacks = ["demo-chat"]
[models.backed]
endpoint = "demo-chat"
served_model = "demo-chat"
fallbacks = ["lmi"]
"""
)

HELLO: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Grüße, 世界! 🌍"}]
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
TEXTS = [f"text number {number}" for number in range(8)]
USAGE: Any = {"include_usage": True}


@pytest.fixture(scope="module")
def deployed(emulator: Emulator) -> Emulator:
    emulator.add_endpoint("vectors", pooling.application())
    emulator.add_endpoint("lmi", lmi.application(vllm=True), image=LMI)
    emulator.add_endpoint("tgi", tgi.application(), image=TGI)
    emulator.add_endpoint("breaks", lmi.application(fails_after=2, token_delay=0.5), image=LMI)
    emulator.add_endpoint("embedder", tei.application(max_client_batch_size=3), image=TEI)
    emulator.add_endpoint("reranker", tei.application("rerank"), image=TEI)
    emulator.add_endpoint("writer", huggingface.application(), image=PIPELINE)
    features = huggingface.application("feature-extraction")
    emulator.add_endpoint("features", features, image=PIPELINE)
    emulator.add_endpoint("unknown", tei.application(), image="private/own:1")
    emulator.add_endpoint(
        "trees", tei.application(), image="683313688378.dkr.ecr/sagemaker-xgboost:1.7-1"
    )
    return emulator


@pytest.fixture(scope="module")
def proxy(deployed: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory: Path = tmp_path_factory.mktemp("proxy")
    with RunningProxy(directory, deployed.environment(), SETTINGS) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def client(proxy: RunningProxy) -> Iterator[openai.OpenAI]:
    with (
        openai.DefaultHttpxClient(verify=proxy.client_context()) as http,
        openai.OpenAI(
            api_key=proxy.key, base_url=f"{proxy.url}/v1", max_retries=0, http_client=http
        ) as client,
    ):
        yield client


def streamed(client: openai.OpenAI, model: str, **options: Any) -> tuple[str, list[Any]]:
    """A chat's text, and its chunks."""
    stream = client.chat.completions.create(model=model, messages=HELLO, stream=True, **options)
    chunks = list(stream)
    return "".join(each.choices[0].delta.content or "" for each in chunks if each.choices), chunks


def comparable(answer: ChatCompletion) -> Any:
    """An answer without what vLLM adds of its own to those that are not streamed, and its id."""
    told = answer.model_dump(exclude={"id"})
    for choice in told["choices"]:
        choice.pop("stop_reason", None)
        choice["message"]["tool_calls"] = choice["message"]["tool_calls"] or None
    return told


def test_the_list_tells_each_ones_dialect(client: openai.OpenAI) -> None:
    deadline = time.monotonic() + 10
    while not client.models.retrieve("trees").model_dump()["dialect"]:
        assert time.monotonic() < deadline, "it has not been described"
    told = {model.id: model.model_dump()["dialect"] for model in client.models.list()}
    assert {name: told[name] for name in ("lmi", "tgi", "embedder", "features", "trees")} == {
        "lmi": "lmi",
        "tgi": "tgi",
        "embedder": "tei",
        "features": "huggingface",
        "trees": "raw",
    }
    assert (told["unknown"], told["told"], told["templated"]) == (None, "tei", "tgi")


class TestChat:
    @pytest.mark.parametrize("model", ["demo-chat", "lmi", "templated", "backed"])
    def test_an_answer(self, client: openai.OpenAI, model: str) -> None:
        answer = client.chat.completions.create(model=model, messages=HELLO)
        assert "Grüße, 世界! 🌍" in (answer.choices[0].message.content or "")
        assert answer.choices[0].finish_reason == "stop"
        assert answer.object == "chat.completion"

    @pytest.mark.parametrize("model", ["demo-chat", "lmi", "templated"])
    def test_a_stream_is_the_same_text_in_openais_chunks(
        self, client: openai.OpenAI, model: str
    ) -> None:
        whole = client.chat.completions.create(model=model, messages=HELLO)
        text, chunks = streamed(client, model, stream_options=USAGE)
        assert text == whole.choices[0].message.content
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert (chunks[-1].choices, chunks[-1].usage.completion_tokens > 5) == ([], True)

    @pytest.mark.parametrize("model", ["templated"])
    def test_what_the_container_cannot_is_refused_by_name(
        self, client: openai.OpenAI, model: str
    ) -> None:
        with pytest.raises(openai.BadRequestError, match="tgi") as refused:
            client.chat.completions.create(model=model, messages=HELLO, tools=[TOOL])
        assert refused.value.param == "tools"

    def test_without_a_template_it_says_how_to_set_one(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError, match="chat_template"):
            client.chat.completions.create(model="tgi", messages=HELLO)

    @pytest.mark.parametrize("model", ["embedder", "writer", "trees"])
    def test_a_container_without_chats_says_so(self, client: openai.OpenAI, model: str) -> None:
        with pytest.raises(openai.BadRequestError, match=r"dialect|takes no chat"):
            client.chat.completions.create(model=model, messages=HELLO)


class TestCompletions:
    @pytest.mark.parametrize("model", ["demo-chat", "lmi", "tgi", "writer"])
    def test_an_answer(self, client: openai.OpenAI, model: str) -> None:
        answer = client.completions.create(model=model, prompt="Grüße", max_tokens=200)
        assert "Grüße" in answer.choices[0].text
        assert answer.object == "text_completion"

    @pytest.mark.parametrize("model", ["demo-chat", "lmi", "tgi"])
    def test_a_stream(self, client: openai.OpenAI, model: str) -> None:
        whole = client.completions.create(model=model, prompt="Grüße", max_tokens=200)
        chunks = list(
            client.completions.create(model=model, prompt="Grüße", max_tokens=200, stream=True)
        )
        assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
        assert chunks[-1].choices[0].finish_reason == "stop"

    def test_a_failure_in_the_middle_is_an_event(self, client: openai.OpenAI) -> None:
        stream = client.completions.create(model="breaks", prompt="Hi", stream=True)
        assert [next(stream).choices[0].text for _ in range(2)] == wording.tokens(
            wording.answer("Hi")
        )[:2]
        with pytest.raises(openai.APIError, match="model failed"):
            next(stream)

    def test_the_limit_is_the_containers_own(self, client: openai.OpenAI) -> None:
        answer = client.completions.create(model="tgi", prompt="Grüße", max_tokens=2)
        assert answer.choices[0].finish_reason == "length"
        assert answer.choices[0].text == "".join(wording.tokens(answer.choices[0].text)[:2])


class TestEmbeddings:
    @pytest.mark.parametrize("model", ["vectors", "embedder", "told", "features"])
    def test_base64_and_floats_are_the_same(self, client: openai.OpenAI, model: str) -> None:
        # The client asks for base64 by itself.
        encoded = client.embeddings.create(model=model, input=TEXTS[0])
        plain = client.embeddings.create(model=model, input=TEXTS[0], encoding_format="float")
        assert encoded.data[0].embedding == pytest.approx(plain.data[0].embedding)
        assert len(plain.data[0].embedding) == 8

    def test_more_than_the_container_takes_come_back_in_order(
        self, client: openai.OpenAI, deployed: Emulator
    ) -> None:
        before = len(deployed.calls("embedder"))
        answer = client.embeddings.create(model="batched", input=TEXTS)
        assert [item.index for item in answer.data] == list(range(8))
        for item, text in zip(answer.data, TEXTS, strict=True):
            assert item.embedding == pytest.approx(tei.vector(text))
        assert len(deployed.calls("embedder")) == before + 3

    def test_one_batch_that_fails_fails_the_whole(
        self, client: openai.OpenAI, deployed: Emulator
    ) -> None:
        deployed.set_fault("embedder", "model_error", times=None)
        with pytest.raises(openai.InternalServerError):
            client.embeddings.create(model="batched", input=TEXTS)

    def test_vectors_of_tokens_are_pooled_as_configured(self, client: openai.OpenAI) -> None:
        tokens = token_vectors(TEXTS[0])
        mean = client.embeddings.create(model="features", input=TEXTS[0])
        assert mean.data[0].embedding == pytest.approx(
            [sum(column) / len(column) for column in zip(*tokens, strict=True)]
        )
        first = client.embeddings.create(model="first-token", input=TEXTS[0])
        assert first.data[0].embedding == pytest.approx(tokens[0])


class TestRerank:
    @pytest.mark.parametrize("model", ["vectors", "reranker"])
    def test_the_nearest_comes_first(self, proxy: RunningProxy, model: str) -> None:
        body = {"model": model, "query": "text number 5", "documents": TEXTS}
        with proxy.session() as session:
            answer = session.post(f"{proxy.url}/v1/rerank", json=body)
        assert answer.status_code == 200, answer.text
        first, *others = answer.json()["results"]
        assert (first["index"], first["document"]["text"]) == (5, TEXTS[5])
        assert all(other["relevance_score"] < first["relevance_score"] for other in others)

    @pytest.mark.parametrize("route", ["/rerank", "/v1/rerank", "/v2/rerank"])
    @pytest.mark.parametrize("model", ["vectors", "reranker"])
    def test_coheres_and_jinas_fields_are_honoured(
        self, proxy: RunningProxy, model: str, route: str
    ) -> None:
        documents = [{"text": TEXTS[0]}, TEXTS[5], {"text": TEXTS[1], "title": "another"}]
        body = {"model": model, "query": "text number 5", "documents": documents, "top_n": 2}
        with proxy.session() as session:
            ranked = session.post(f"{proxy.url}{route}", json=body)
            told = session.post(f"{proxy.url}{route}", json={**body, "return_documents": False})
        assert (ranked.status_code, told.status_code) == (200, 200), ranked.text + told.text
        shown = [(each["index"], each["document"]["text"]) for each in ranked.json()["results"]]
        assert shown == [(1, TEXTS[5]), (0, TEXTS[0])]
        assert [list(each) for each in told.json()["results"]] == [["index", "relevance_score"]] * 2
        assert [each["index"] for each in told.json()["results"]] == [1, 0]

    @pytest.mark.parametrize("asked", [{}, {"return_documents": False}])
    def test_what_it_used_is_counted(self, proxy: RunningProxy, asked: dict[str, Any]) -> None:
        body = {"model": "vectors", "query": TEXTS[5], "documents": TEXTS, **asked}
        with proxy.session() as session:
            answer = session.post(f"{proxy.url}/v1/rerank", json=body)
        entry = proxy.wait_for_request(answer.headers["X-Request-Id"])
        used = answer.json()["usage"]["total_tokens"]
        assert entry["prompt_tokens"] == used > 0


class TestLongRequests:
    @pytest.mark.parametrize(
        "options", [{}, {"tools": [TOOL]}, {"max_tokens": 3}, {"n": 2}, {"logprobs": True}]
    )
    def test_a_stream_put_together_equals_the_answer_at_once(
        self, client: openai.OpenAI, deployed: Emulator, options: dict[str, Any]
    ) -> None:
        long = client.chat.completions.create(model="long", messages=HELLO, **options)
        assert b'"stream":true' in deployed.calls("demo-chat")[-1].body
        at_once = client.chat.completions.create(model="demo-chat", messages=HELLO, **options)
        assert comparable(long) == comparable(at_once)

    def test_with_another_dialect(self, client: openai.OpenAI) -> None:
        long = client.chat.completions.create(model="long-lmi", messages=HELLO)
        at_once = client.chat.completions.create(model="lmi", messages=HELLO)
        assert long.choices[0].message.content == at_once.choices[0].message.content

    def test_one_that_breaks_is_a_failure(self, client: openai.OpenAI, deployed: Emulator) -> None:
        deployed.set_fault("demo-chat", "stream_break")
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="long", messages=HELLO)


class TestFallback:
    def test_a_stream_that_fails_before_its_first_event_is_tried_elsewhere(
        self, client: openai.OpenAI, deployed: Emulator
    ) -> None:
        deployed.set_fault("demo-chat", "stream_model_error", after=0)
        text, _ = streamed(client, "backed")
        assert "Grüße" in text
        assert len(deployed.calls("lmi")) > 0

    def test_each_one_is_spoken_to_in_its_own_dialect(
        self, client: openai.OpenAI, deployed: Emulator
    ) -> None:
        deployed.set_fault("demo-chat", "model_error")
        answer = client.chat.completions.with_raw_response.create(model="backed", messages=HELLO)
        assert answer.headers["X-Served-By"] == "lmi"
        assert "Grüße" in (answer.parse().choices[0].message.content or "")


class TestHeaders:
    @pytest.mark.parametrize("stream", [False, True])
    def test_what_a_call_says_of_itself_reaches_sagemaker(
        self, proxy: RunningProxy, deployed: Emulator, session: requests.Session, stream: bool
    ) -> None:
        told = {
            "X-Amzn-SageMaker-Session-Id": "NEW_SESSION",
            "X-Amzn-SageMaker-Prefix-Aware-Id": "prefix",
            "X-Amzn-SageMaker-Custom-Attributes": "trace=1",
            "X-Amzn-SageMaker-Target-Variant": "AllTraffic",
        }
        body = {"model": "demo-chat", "messages": HELLO, "stream": stream}
        url = f"{proxy.url}/v1/chat/completions"
        answer = session.post(url, json=body, headers=told)
        assert answer.status_code == 200
        assert answer.headers["x-amzn-invoked-production-variant"] == "AllTraffic"
        got = {
            name.lower(): value for name, value in deployed.calls("demo-chat")[-1].headers.items()
        }
        assert {name: got.get(name.lower()) for name in told} == told

    def test_another_component_than_the_bodys_cannot_be_reached_so(
        self, proxy: RunningProxy, deployed: Emulator, session: requests.Session
    ) -> None:
        url = f"{proxy.url}/v1/chat/completions"
        body = {"model": "demo-chat", "messages": HELLO}
        headers = {"X-Amzn-SageMaker-Inference-Component": "other"}
        assert session.post(url, json=body, headers=headers).status_code == 200
        got = {name.lower() for name in deployed.calls("demo-chat")[-1].headers}
        assert "x-amzn-sagemaker-inference-component" not in got


def test_the_log_has_the_tokens_that_a_container_told(
    proxy: RunningProxy, session: requests.Session
) -> None:
    body = json.dumps({"model": "lmi", "messages": HELLO})
    headers = {"X-Request-Id": "counted"}
    session.post(f"{proxy.url}/v1/chat/completions", data=body, headers=headers)
    assert proxy.wait_for_request("counted")["completion_tokens"] > 5
