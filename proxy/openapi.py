"""The API's description, OpenAPI 3.1: ``openapi.yaml``, which people write, as JSON."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from proxy import __version__

_SOURCE = Path(__file__).with_suffix(".yaml")

# Of PyYAML's two loaders, the one in C takes a tenth of the time; not every build has it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def description() -> dict[str, Any]:
    """The whole document. Blocks while it reads the file."""
    with _SOURCE.open(encoding="utf-8") as file:
        document: dict[str, Any] = yaml.load(file, _Loader)  # noqa: S506, for both are safe
    document["info"]["version"] = __version__
    # These keys hold what the file repeats, and say nothing of their own.
    return {key: value for key, value in document.items() if not key.startswith("x-")}


@cache
def description_json() -> bytes:
    """The document as it is served; read once."""
    return json.dumps(description(), ensure_ascii=False, separators=(",", ":")).encode()
