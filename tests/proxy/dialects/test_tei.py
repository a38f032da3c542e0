"""TEI's vectors and ranks become OpenAI's embeddings and everyone's rerank."""

import base64
import json
import struct

import pytest

from proxy.dialects.base import Operation, Settings
from proxy.errors import InvalidRequest, UpstreamFailed
from tests.emulator.containers import tei
from tests.proxy.dialects.asking import Json, answers, ask_whole, read_whole, render

TEXTS = [f"text {number} é" for number in range(70)]
RANKED: Json = {"query": "a", "documents": ["b"]}


@pytest.mark.parametrize("limit", [1, 32, 100])
def test_batches_are_put_together_in_order(limit: int) -> None:
    container = tei.application(max_client_batch_size=limit)
    body = {"input": TEXTS, "user": "u"}
    answer, _ = ask_whole("tei", container, Operation.EMBEDDINGS, body, Settings(batch_limit=limit))
    assert answer == {
        "object": "list",
        "model": "public",
        "data": [
            {"object": "embedding", "index": index, "embedding": tei.vector(text)}
            for index, text in enumerate(TEXTS)
        ],
    }


def test_base64_is_the_same_numbers() -> None:
    body = {"input": TEXTS[0], "encoding_format": "base64"}
    answer, _ = ask_whole("tei", tei.application(), Operation.EMBEDDINGS, body)
    (item,) = answer["data"]
    vector = struct.unpack("<8f", base64.b64decode(item["embedding"]))
    assert list(vector) == tei.vector(TEXTS[0])


def test_token_numbers_and_dimensions_go_through() -> None:
    body = {"input": [[1, 2], [3]], "dimensions": 4}
    settings = Settings(dimensions=True)
    answer, _ = ask_whole("tei", tei.application(), Operation.EMBEDDINGS, body, settings)
    assert [item["embedding"] for item in answer["data"]] == [
        tei.vector([1, 2], 4),
        tei.vector([3], 4),
    ]


def test_more_than_the_containers_limit_is_its_refusal() -> None:
    rendered = render("tei", Operation.EMBEDDINGS, {"input": TEXTS}, Settings(batch_limit=64))
    (status, answer), _ = answers(tei.application(), rendered.bodies)
    assert status == 413
    assert json.loads(answer) == {
        "error": "batch size 64 > maximum allowed batch size 32",
        "error_type": "Validation",
    }


@pytest.mark.parametrize(
    ("operation", "body", "param"),
    [
        (Operation.EMBEDDINGS, {"input": "a", "dimensions": 4}, "dimensions"),
        (Operation.EMBEDDINGS, {"input": ""}, "input"),
        (Operation.EMBEDDINGS, {"input": "a", "task": "x"}, "task"),
        (Operation.RERANK, {"documents": ["a"]}, "query"),
        (Operation.RERANK, {"query": "a", "documents": []}, "documents"),
        (Operation.RERANK, {"query": "a", "documents": [{"image": "b"}]}, "documents"),
        (Operation.RERANK, {"query": "a", "documents": "b"}, "documents"),
        (Operation.RERANK, {"query": "a", "documents": ["b"], "top_n": 0}, "top_n"),
        (Operation.RERANK, {**RANKED, "return_documents": "no"}, "return_documents"),
        (Operation.RERANK, {**RANKED, "rank_fields": ["title"]}, "rank_fields"),
        (Operation.RERANK, {**RANKED, "max_tokens_per_doc": 100}, "max_tokens_per_doc"),
        (Operation.CHAT, {"messages": []}, "model"),
        (Operation.COMPLETIONS, {"prompt": "a"}, "model"),
    ],
)
def test_what_it_cannot_honour_is_refused(operation: Operation, body: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        render("tei", operation, body, Settings())
    assert caught.value.param == param


@pytest.mark.parametrize(
    "answer", [b"{}", b"[[1]]", b"[[1],[2],[3]]", b'[["a"],[1]]', b"x", b"[1,2]", b"[[1],null]"]
)
def test_another_answer_is_refused(answer: bytes) -> None:
    reader = render("tei", Operation.EMBEDDINGS, {"input": ["a", "b"]}, Settings()).reader
    with pytest.raises(UpstreamFailed, match="dialect 'tei'"):
        read_whole(reader, [answer])


def test_the_containers_own_error_is_told() -> None:
    reader = render("tei", Operation.EMBEDDINGS, {"input": "a"}, Settings()).reader
    with pytest.raises(UpstreamFailed, match="the model failed: out of memory"):
        read_whole(reader, [b'{"error": "out of memory", "error_type": "Backend"}'])


FOXES: Json = {"query": "the red fox", "documents": ["a cat", "the red fox", "the fox"]}


class TestRerank:
    @pytest.mark.parametrize("limit", [1, 2, 32])
    def test_documents_are_ranked_across_batches(self, limit: int) -> None:
        container = tei.application("rerank", max_client_batch_size=limit)
        settings = Settings(batch_limit=limit)
        answer, _ = ask_whole("tei", container, Operation.RERANK, FOXES, settings)
        assert answer["model"] == "public"
        assert answer["results"] == [
            {"index": 1, "relevance_score": 1.0, "document": {"text": "the red fox"}},
            {"index": 2, "relevance_score": 2 / 3, "document": {"text": "the fox"}},
            {"index": 0, "relevance_score": 0.0, "document": {"text": "a cat"}},
        ]

    def test_the_first_alone_and_without_documents(self) -> None:
        container = tei.application("rerank")
        documents = [{"text": text} for text in FOXES["documents"]]
        body = {**FOXES, "documents": documents, "top_n": 1, "return_documents": False}
        body["rank_fields"] = ["text"]
        answer, _ = ask_whole("tei", container, Operation.RERANK, body)
        assert answer["results"] == [{"index": 1, "relevance_score": 1.0}]

    @pytest.mark.parametrize(
        "answer",
        [
            b"[]",
            b'[{"index": 0, "score": 1}, {"index": 0, "score": 1}, {"index": 2, "score": 1}]',
            b'[{"index": 0}, {"index": 1}, {"index": 2}]',
            b"7",
        ],
    )
    def test_another_answer_is_refused(self, answer: bytes) -> None:
        reader = render("tei", Operation.RERANK, FOXES, Settings()).reader
        with pytest.raises(UpstreamFailed, match="dialect 'tei'"):
            read_whole(reader, [answer])
