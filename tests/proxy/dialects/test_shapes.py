"""What is rendered is OpenAI's, by the types of its own client."""

import json

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proxy.dialects.base import Operation, Usage
from proxy.dialects.shapes import Head, usage_json
from tests.proxy.dialects.asking import events

USAGE = Usage(3, 4)
COUNTS = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_whole_answers() -> None:
    texts = [("é", "stop"), ("b", "length")]
    chat = json.loads(Head.new(Operation.CHAT, "m").whole(texts, USAGE))
    text = json.loads(Head.new(Operation.COMPLETIONS, "m").whole(texts, USAGE))
    completion = ChatCompletion.model_validate(chat, strict=True)
    assert [choice.message.content for choice in completion.choices] == ["é", "b"]
    assert [choice.text for choice in Completion.model_validate(text, strict=True).choices] == [
        "é",
        "b",
    ]
    assert chat["usage"] == text["usage"] == COUNTS


@pytest.mark.parametrize("include_usage", [True, False])
def test_chunks_share_their_head(include_usage: bool) -> None:
    head = Head.new(Operation.CHAT, "m")
    rendered = head.role(include_usage) + head.text("a", include_usage)
    rendered += head.finish("stop", include_usage) + head.usage(USAGE)
    found = events(rendered)
    chunks = [ChatCompletionChunk.model_validate(event, strict=True) for event in found]
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert ["usage" in event for event in found] == [*[include_usage] * 3, True]
    assert found[-1]["usage"] == COUNTS


def test_a_streamed_text_has_no_role() -> None:
    head = Head.new(Operation.COMPLETIONS, "m")
    assert head.role(True) == b""
    (event,) = events(head.finish("stop", False))
    Completion.model_validate(event, strict=True)


@pytest.mark.parametrize("usage", [None, Usage(None, 4), Usage(3, None)])
def test_a_usage_with_a_gap_is_none(usage: Usage | None) -> None:
    assert usage_json(usage) is None
    assert Head.new(Operation.CHAT, "m").usage(usage) == b""
