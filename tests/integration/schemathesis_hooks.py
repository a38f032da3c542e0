"""Schemathesis's requests, led to models and endpoints that there are."""

from typing import Any

import schemathesis
from schemathesis import Case, HookContext

# By the operation, a model that takes whatever is right, and one that takes nothing wrong. In
# between, it is for each container to say.
MODELS = {
    "chat/completions": ("demo-chat", "strict-text"),
    "completions": ("demo-chat", "strict-text"),
    "embeddings": ("vectors", "strict-vectors"),
    "messages": ("demo-chat", "strict-text"),
    "messages/count_tokens": ("demo-chat", "strict-text"),
    "responses": ("demo-chat", "strict-text"),
    "rerank": ("vectors", "reranker"),
    "audio/transcriptions": ("whisper", "features"),
    "predict": ("demo-echo", "demo-echo"),
}
PATH = {"name": "demo-echo", "id": "demo-chat"}


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    if case.meta is None:
        return
    right = case.meta.generation.mode.is_positive
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        lenient, strict = MODELS[case.path.removeprefix("/v1").removeprefix("/v2").strip("/")]
        case.body["model"] = lenient if right else strict
    if right:
        case.path_parameters.update({k: v for k, v in PATH.items() if k in case.path_parameters})
