"""What the emulated containers that write text have in common: a deterministic model of tokens."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.emulator.containers import wording

_CONTROL = re.compile(r"<\|\w+\|>|</?s>|</?\w+_of_turn>|\[/?INST\]")


@dataclass(frozen=True)
class Written:
    """What the model wrote; ``finish_reason`` as TGI and LMI call it."""

    prompt_tokens: int
    tokens: tuple[str, ...]
    finish_reason: str

    @property
    def text(self) -> str:
        """The whole text, with the stop sequence that ended it."""
        return "".join(self.tokens)


def write(prompt: str, limit: int, stops: Sequence[str]) -> Written:
    """Answer a prompt, up to a number of tokens or until a stop sequence is written."""
    prompt_tokens = len(wording.tokens(prompt))
    written: list[str] = []
    for token in wording.tokens(wording.answer(heard(prompt))):
        if len(written) == limit:
            return Written(prompt_tokens, tuple(written), "length")
        written.append(token)
        if any(stop in "".join(written) for stop in stops):
            return Written(prompt_tokens, tuple(written), "stop_sequence")
    return Written(prompt_tokens, tuple(written), "eos_token")


def heard(prompt: str) -> str:
    """The words of a prompt, without the control tokens that a tokenizer makes of its marks."""
    return _CONTROL.sub("", prompt)


def number(parameters: dict[str, Any], name: str, default: float) -> float:
    """A parameter that must be a number. Raises ``ValueError``."""
    value = parameters.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{name} must be a number")
    return value
