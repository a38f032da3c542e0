"""Pipelines' answers become OpenAI's."""

import json

import pytest
from openai.types import Completion

from proxy.dialects.base import Operation, Settings
from proxy.errors import InvalidRequest, UpstreamFailed
from tests.emulator.containers import huggingface, wording
from tests.proxy.dialects.asking import Json, ask_whole, read_whole, render

TEXTS = ["one two three", "é 🦉", "one"]


def test_prompts_are_answered_in_order_and_alone() -> None:
    body = {"prompt": TEXTS, "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 4}
    container = huggingface.application()
    answer, reader = ask_whole("huggingface", container, Operation.COMPLETIONS, body)
    completion = Completion.model_validate(answer, strict=True)
    expected = ["".join(wording.tokens(wording.answer(text))[:5]) for text in TEXTS]
    assert [choice.text for choice in completion.choices] == expected
    assert reader.usage is None
    assert "usage" not in answer


def test_stops_are_cut_here() -> None:
    text = wording.answer(TEXTS[0])
    body = {"prompt": TEXTS[0], "stop": wording.tokens(text)[3]}
    container = huggingface.application()
    answer, _ = ask_whole("huggingface", container, Operation.COMPLETIONS, body)
    (choice,) = answer["choices"]
    assert choice["text"] == "".join(wording.tokens(text)[:3])


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_token_vectors_are_pooled_as_configured(pooling: str) -> None:
    settings = Settings(pooling=pooling, batch_limit=2)
    container = huggingface.application("feature-extraction")
    answer, _ = ask_whole(
        "huggingface", container, Operation.EMBEDDINGS, {"input": TEXTS}, settings
    )
    for text, item in zip(TEXTS, answer["data"], strict=True):
        rows = huggingface.token_vectors(text)
        pooled = {
            "mean": [sum(column) / len(rows) for column in zip(*rows, strict=True)],
            "cls": rows[0],
            "last": rows[-1],
        }
        assert item["embedding"] == pooled[pooling]


@pytest.mark.parametrize(
    ("operation", "body", "param"),
    [
        (Operation.COMPLETIONS, {"prompt": "a", "stream": True}, "stream"),
        (Operation.COMPLETIONS, {"prompt": "a", "seed": 1}, "seed"),
        (Operation.COMPLETIONS, {"prompt": "a", "frequency_penalty": 1}, "frequency_penalty"),
        (Operation.EMBEDDINGS, {"input": "a", "dimensions": 4}, "dimensions"),
        (Operation.EMBEDDINGS, {"input": [1, 2]}, "input"),
        (Operation.CHAT, {"messages": []}, "model"),
        (Operation.RERANK, {"query": "a", "documents": ["b"]}, "model"),
    ],
)
def test_what_it_cannot_honour_is_refused(operation: Operation, body: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        render("huggingface", operation, body, Settings(dimensions=True))
    assert caught.value.param == param


@pytest.mark.parametrize(
    "answer", [b"[]", b"{}", b'{"summary_text": "a"}', b"[[]]", b"x", b'[{"generated_text": null}]']
)
def test_another_answer_is_refused(answer: bytes) -> None:
    for operation, body in (
        (Operation.COMPLETIONS, {"prompt": "a"}),
        (Operation.EMBEDDINGS, {"input": "a"}),
    ):
        reader = render("huggingface", operation, body, Settings()).reader
        with pytest.raises(UpstreamFailed, match="dialect 'huggingface'"):
            read_whole(reader, [answer])


def test_the_prompt_is_not_repeated() -> None:
    (body,) = render("huggingface", Operation.COMPLETIONS, {"prompt": "a"}, Settings()).bodies
    assert json.loads(body) == {"inputs": "a", "parameters": {"return_full_text": False}}
