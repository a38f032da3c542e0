"""A rerank in Cohere's and Jina's shape becomes one that vLLM takes, and its answer theirs."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.base import Operation, Relayed, Settings, Usage
from proxy.dialects.openai import render
from proxy.errors import InvalidRequest, UpstreamFailed
from tests.emulator.containers import pooling
from tests.proxy.dialects import asking
from tests.proxy.dialects.asking import Json, ask_whole, read_whole

FOXES: Json = {"query": "the red fox", "documents": ["a cat", "the red fox", "the fox"]}
AS_SENT = Settings()
CALLED_VECTORS = Settings(served_model="vectors")


def rendered(body: Json, settings: Settings = AS_SENT) -> Json:
    """What the container is sent."""
    (sent,) = asking.render("openai", Operation.RERANK, body, settings).bodies
    read: Json = json.loads(sent)
    return read


@given(st.lists(st.text(min_size=1), min_size=1), st.sampled_from([True, None]))
def test_texts_are_the_clients_own_bytes(documents: list[str], wanted: bool | None) -> None:
    body = {"query": "a", "documents": documents, "return_documents": wanted, "own": 1e2}
    data = json.dumps(body, indent=1).encode()
    sent = render(data, Operation.RERANK, model="public", settings=AS_SENT)
    assert sent.bodies == [data]
    assert isinstance(sent.reader, Relayed)


@given(st.lists(st.tuples(st.text(min_size=1), st.booleans()), min_size=1))
def test_of_an_object_the_text_is_sent(documents: list[tuple[str, bool]]) -> None:
    given = [{"text": text, "id": 1} if wraps else text for text, wraps in documents]
    body = {"documents": given, "query": "a", "top_n": 2, "rank_fields": ["text"]}
    assert rendered(body) == {
        **body,
        "model": "public",
        "documents": [text for text, _ in documents],
    }


def test_the_model_is_the_containers() -> None:
    sent = rendered({"query": "a", "documents": [{"text": "b"}]}, CALLED_VECTORS)
    assert sent == {"model": "vectors", "query": "a", "documents": ["b"]}


@pytest.mark.parametrize(
    "documents",
    [
        [{"content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}],
        {"content": [{"type": "text", "text": "b"}]},
        [{"text": 7}],
        [{"text": None}],
        [["b"]],
        "b",
        None,
        7,
    ],
)
def test_what_is_no_text_is_left_to_the_container(documents: Any) -> None:
    assert rendered({"query": "a", "documents": documents})["documents"] == documents


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"documents": [{"title": "b", "text": "c"}], "rank_fields": ["title"]}, "rank_fields"),
        ({"documents": ["b"], "return_documents": "no"}, "return_documents"),
        ({"documents": [{"text": "b"}, *[""] * 200_000]}, "documents"),
    ],
)
def test_what_it_cannot_honour_is_refused_by_name(asked: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        rendered({"query": "a", **asked})
    assert refused.value.param == param


def test_without_documents_all_else_is_the_containers() -> None:
    body = {**FOXES, "return_documents": False, "top_n": 2}
    answer, reader = ask_whole(
        "openai", pooling.application(), Operation.RERANK, body, CALLED_VECTORS
    )
    assert answer["results"] == [
        {"index": 1, "relevance_score": 1.0},
        {"index": 2, "relevance_score": 2 / 3},
    ]
    assert (answer["model"], answer["id"][:6]) == ("vectors", "rerank")
    assert reader.usage == Usage(answer["usage"]["total_tokens"], None)


@pytest.mark.parametrize("usage", [{}, {"usage": None}])
def test_a_container_need_not_tell_its_use(usage: Json) -> None:
    reader = asking.render(
        "openai", Operation.RERANK, {**FOXES, "return_documents": False}, AS_SENT
    ).reader
    answer = {"results": [{"index": 0, "relevance_score": 0.5}], **usage}
    assert json.loads(read_whole(reader, [json.dumps(answer).encode()])) == answer
    assert reader.usage is None


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"results": 1}', b"[" * 100_000, b"\xff"])
def test_another_answer_is_a_failure(answer: bytes) -> None:
    reader = asking.render(
        "openai", Operation.RERANK, {**FOXES, "return_documents": False}, AS_SENT
    ).reader
    with pytest.raises(UpstreamFailed, match="no results"):
        read_whole(reader, [answer])
