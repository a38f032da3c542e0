"""Requests for text are read, and what a dialect can't honour is refused."""

import json
from typing import Any

import pytest

from proxy.dialects.base import Operation, Settings
from proxy.errors import InvalidRequest
from tests.proxy.dialects.asking import Json, render

CHATML = Settings(chat_template="chatml")
QUESTION = "How are you? é🦉"
PROMPT = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
CHAT: Json = {"messages": [{"role": "user", "content": QUESTION}]}
TEXT: Json = {"prompt": QUESTION}


class TestRequest:
    def body(self, **fields: Any) -> Json:
        rendered = render("tgi", Operation.COMPLETIONS, {**TEXT, **fields}, Settings())
        parsed: Json = json.loads(rendered.bodies[0])
        return parsed

    def test_fields_become_parameters(self) -> None:
        assert self.body(
            max_tokens=7,
            temperature=0.5,
            top_p=0.9,
            seed=3,
            stop="END",
            frequency_penalty=0.1,
            top_k=5,
            repetition_penalty=1.1,
        ) == {
            "inputs": QUESTION,
            "parameters": {
                "return_full_text": False,
                "details": True,
                "max_new_tokens": 7,
                "do_sample": True,
                "temperature": 0.5,
                "top_p": 0.9,
                "seed": 3,
                "stop": ["END"],
                "frequency_penalty": 0.1,
                "top_k": 5,
                "repetition_penalty": 1.1,
            },
            "stream": False,
        }

    @pytest.mark.parametrize(
        "fields",
        [{"temperature": 0}, {"temperature": 0.7, "top_p": 0}, {"temperature": 0, "top_k": 3}],
    )
    def test_no_sampling_is_said_as_the_container_takes_it(self, fields: Json) -> None:
        parameters = self.body(**fields)["parameters"]
        assert parameters == {"return_full_text": False, "details": True, "do_sample": False}

    def test_a_top_p_of_one_is_left_out(self) -> None:
        assert "top_p" not in self.body(top_p=1)["parameters"]

    @pytest.mark.parametrize(("fields", "top_k"), [({"top_k": 5}, 5), ({"top_k": -1}, None)])
    def test_a_top_k_samples(self, fields: Json, top_k: int | None) -> None:
        parameters = self.body(**fields)["parameters"]
        assert parameters.get("top_k") == top_k
        assert parameters.get("do_sample", False) is (top_k is not None)

    def test_a_chat_becomes_a_prompt_with_the_templates_end(self) -> None:
        (data,) = render(
            "tgi", Operation.CHAT, {**CHAT, "stop": ["a", "b", "c", "d"]}, CHATML
        ).bodies
        body = json.loads(data)
        assert body["inputs"] == PROMPT
        # The container takes four; the fifth is cut on the way back.
        assert body["parameters"]["stop"] == ["a", "b", "c", "d"]

    def test_the_templates_end_is_one_stop_more(self) -> None:
        rendered = render("tgi", Operation.CHAT, {**CHAT, "stop": "a"}, CHATML)
        assert json.loads(rendered.bodies[0])["parameters"]["stop"] == ["a", "<|im_end|>"]

    def test_parts_of_text_are_joined_and_a_developer_is_the_system(self) -> None:
        messages = [
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
        ]
        (data,) = render("tgi", Operation.CHAT, {"messages": messages}, CHATML).bodies
        assert json.loads(data)["inputs"].startswith(
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nab<|im_end|>\n"
        )

    @pytest.mark.parametrize(
        ("operation", "body", "param"),
        [
            (Operation.CHAT, {**CHAT, "tools": [{"type": "function"}]}, "tools"),
            (Operation.CHAT, {**CHAT, "n": 2}, "n"),
            (Operation.CHAT, {**CHAT, "logprobs": True}, "logprobs"),
            (
                Operation.CHAT,
                {**CHAT, "response_format": {"type": "json_object"}},
                "response_format",
            ),
            (Operation.CHAT, {"messages": []}, "messages"),
            (Operation.CHAT, {"messages": "Hi"}, "messages"),
            (Operation.CHAT, {"messages": ["Hi"]}, "messages.0"),
            (Operation.CHAT, {"messages": [{"role": "tool", "content": "1"}]}, "messages.0"),
            (
                Operation.CHAT,
                {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
                "messages.0.content",
            ),
            (Operation.CHAT, {"messages": [{"role": "user"}]}, "messages.0.content"),
            (
                Operation.CHAT,
                {
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "text", "text": "<|im_"},
                                {"type": "text", "text": "end|>"},
                            ],
                        }
                    ]
                },
                "messages.0.content",
            ),
            (Operation.COMPLETIONS, {**TEXT, "logprobs": 1}, "logprobs"),
            (Operation.COMPLETIONS, {**TEXT, "presence_penalty": 1}, "presence_penalty"),
            (Operation.COMPLETIONS, {**TEXT, "temperature": 3}, "temperature"),
            (Operation.COMPLETIONS, {"prompt": [1, 2]}, "prompt"),
            (Operation.COMPLETIONS, {"prompt": ""}, "prompt"),
            (Operation.COMPLETIONS, {}, "prompt"),
            (Operation.COMPLETIONS, {"prompt": ["a", "b"], "stream": True}, "prompt"),
            (Operation.EMBEDDINGS, {"input": "a"}, "model"),
            (Operation.RERANK, {"query": "a", "documents": ["b"]}, "model"),
        ],
    )
    def test_what_it_cannot_honour_is_refused(
        self, operation: Operation, body: Json, param: str
    ) -> None:
        with pytest.raises(InvalidRequest) as caught:
            render("tgi", operation, body, CHATML)
        assert caught.value.param == param

    def test_a_chat_without_a_template_is_refused(self) -> None:
        with pytest.raises(InvalidRequest, match="set chat_template"):
            render("tgi", Operation.CHAT, CHAT, Settings())
