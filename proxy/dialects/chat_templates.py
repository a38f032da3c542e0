"""Makes one prompt of a chat, as the families of models document that they were trained.

The token that begins every prompt (``<s>``, ``<|begin_of_text|>``, ``<bos>``) is not among what is
written here: the container's tokenizer puts it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from proxy.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Message:
    """One message: ``role`` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Template:
    """How a family writes a chat, what ends a turn of the model's, and all its words of control."""

    write: Callable[[Sequence[Message]], str]
    ends: tuple[str, ...]
    control: tuple[str, ...]

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt.

        Raises ``InvalidRequest`` for a chat that the family's documentation has no form for, and
        for a message that holds a word of control, with which it could pass for several.
        """
        for index, message in enumerate(messages):
            if found := [word for word in self.control if word in message.content]:
                raise InvalidRequest(
                    f"the text {found[0]!r} marks turns in this model's chat template, so a "
                    "message cannot hold it",
                    param=f"messages.{index}.content",
                )
        return self.write(messages)


def find_template(name: str | None) -> Template:
    """The template that the operator has chosen. Raises ``InvalidRequest`` if there is none."""
    if name is not None and name in TEMPLATES:
        return TEMPLATES[name]
    reason = "names none" if name is None else f"names the unknown one {name!r}"
    raise InvalidRequest(
        "this model's container speaks the dialect 'tgi', which takes a prompt; to make one of a "
        f"chat it needs a chat template, and the configuration {reason}: set chat_template of the "
        f"model to one of {', '.join(TEMPLATES)}",
        param="messages",
    )


def _chatml(messages: Sequence[Message]) -> str:
    turns = [f"<|im_start|>{item.role}\n{item.content}<|im_end|>\n" for item in messages]
    return "".join([*turns, "<|im_start|>assistant\n"])


def _llama_3(messages: Sequence[Message]) -> str:
    turns = [f"{_llama_3_header(item.role)}{item.content.strip()}<|eot_id|>" for item in messages]
    return "".join([*turns, _llama_3_header("assistant")])


def _llama_3_header(role: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


def _zephyr(messages: Sequence[Message]) -> str:
    turns = [f"<|{item.role}|>\n{item.content}</s>\n" for item in messages]
    return "".join([*turns, "<|assistant|>\n"])


def _llama_2(messages: Sequence[Message]) -> str:
    system, turns = _alternating("llama-2", messages)
    first = f"<<SYS>>\n{system.strip()}\n<</SYS>>\n\n" if system else ""
    pieces = []
    for index, item in enumerate(turns):
        content = item.content.strip()
        if item.role == "assistant":
            pieces.append(f" {content} </s><s>")
        else:
            pieces.append(f"[INST] {first if index == 0 else ''}{content} [/INST]")
    return "".join(pieces)


def _mistral(messages: Sequence[Message]) -> str:
    system, turns = _alternating("mistral", messages)
    first = f"{system}\n\n" if system else ""
    return "".join(
        f" {item.content}</s>"
        if item.role == "assistant"
        else f"[INST] {first if index == 0 else ''}{item.content} [/INST]"
        for index, item in enumerate(turns)
    )


def _gemma(messages: Sequence[Message]) -> str:
    system, turns = _alternating("gemma", messages)
    if system:
        raise InvalidRequest(
            "the chat template 'gemma' has no place for a system message", param="messages"
        )
    roles = {"user": "user", "assistant": "model"}
    pieces = [
        f"<start_of_turn>{roles[item.role]}\n{item.content.strip()}<end_of_turn>\n"
        for item in turns
    ]
    return "".join([*pieces, "<start_of_turn>model\n"])


def _alternating(name: str, messages: Sequence[Message]) -> tuple[str, Sequence[Message]]:
    """The system message's words, and the turns of user and assistant behind it."""
    has_system = messages[0].role == "system"
    turns = messages[1:] if has_system else messages
    expected = ["user", "assistant"] * len(turns)
    if len(turns) % 2 == 0 or [item.role for item in turns] != expected[: len(turns)]:
        raise InvalidRequest(
            f"the chat template {name!r} takes a system message at most, and then user and "
            "assistant in turn, the user first and last",
            param="messages",
        )
    return messages[0].content if has_system else "", turns


TEMPLATES: Mapping[str, Template] = {
    "chatml": Template(_chatml, ("<|im_end|>",), ("<|im_start|>", "<|im_end|>", "<|endoftext|>")),
    "gemma": Template(
        _gemma, ("<end_of_turn>",), ("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>")
    ),
    "llama-2": Template(
        _llama_2, ("</s>",), ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>")
    ),
    "llama-3": Template(
        _llama_3,
        ("<|eot_id|>",),
        (
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            "<|eom_id|>",
            "<|python_tag|>",
        ),
    ),
    "mistral": Template(_mistral, ("</s>",), ("[INST]", "[/INST]", "<s>", "</s>")),
    "zephyr": Template(
        _zephyr, ("</s>",), ("<|system|>", "<|user|>", "<|assistant|>", "<s>", "</s>")
    ),
}
