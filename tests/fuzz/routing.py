"""A request goes to the model that its container would read in it, or is refused."""

from __future__ import annotations

import json

from proxy.dialects.openai import read_routing, with_model
from proxy.errors import InvalidRequest


def check(data: bytes) -> None:
    """Compare what is read with what Python's parser reads, and the body with its model changed."""
    try:
        routing = read_routing(data)
    except InvalidRequest:
        return
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return  # a container refuses it, whatever model it is for
    assert body["model"] == routing.model
    assert bool(body.get("stream")) == routing.stream
    try:
        changed = json.loads(with_model(data, "another"))
    except InvalidRequest:
        return
    assert changed == {**body, "model": "another"}
