"""Reads the errors that containers report inside an answer, in whichever of their shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from proxy.errors import InvalidRequest, ProxyError, Throttled, UpstreamFailed

_SHOWN_CHARACTERS = 1000
_CODE = re.compile(r"[A-Za-z][\w.-]{0,49}", re.ASCII)
_MOST_CODE = 100_000

_GENERATION_FAILED = 424  # DJL and TGI say so of any failure of the model

# How TGI and TEI name an error, and the status they would have answered before the first byte.
_STATUS_BY_TYPE = {"validation": 422, "tokenizer": 422, "overloaded": 429}


def find_failure(said: object) -> ProxyError | None:
    """The error that a container's JSON reports; None if it reports none.

    It is ``{"error": text, "error_type": …}`` from TGI and TEI, ``{"error": text, "code": …}`` or
    ``{"code": …, "type": …, "message": text}`` from the servers under DJL and Hugging Face's
    toolkit, and ``{"error": {"message": text, "code": …}}`` from those that follow OpenAI.
    """
    if not isinstance(said, Mapping):
        return None
    error = said.get("error")
    if isinstance(error, Mapping):
        return _failure(error.get("message"), error.get("code"), error.get("type"))
    if error is not None:
        return _failure(error, said.get("code"), said.get("error_type"))
    if "code" in said and "message" in said:
        return _failure(said["message"], said["code"], said.get("type"))
    return None


def _failure(message: object, code: object, kind: object) -> ProxyError:
    text = str(message or "")[:_SHOWN_CHARACTERS]
    status = code if isinstance(code, int) else _STATUS_BY_TYPE.get(str(kind).lower(), 0)
    # Its words are the client's alone: they may quote the request.
    told = next(filter(_is_code, (code, kind)), "no code")
    log_message = f"the container reported an error in its answer ({told})"
    if status == Throttled.status:
        return Throttled(text or "the model is overloaded", log_message=log_message)
    if 400 <= status < 500 and status != _GENERATION_FAILED:
        return InvalidRequest(text or "the model refused the request", log_message=log_message)
    return UpstreamFailed(
        "the model failed" + (f": {text}" if text else ""), log_message=log_message
    )


def _is_code(value: object) -> bool:
    """Whether this is a code and no text."""
    if isinstance(value, str):
        return _CODE.fullmatch(value) is not None
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST_CODE
