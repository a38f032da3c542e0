"""Asks a server that speaks OpenAI's API which model it has."""

from __future__ import annotations

import json
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from tests.demo.processes import Failed

_SECONDS = 5


def served_model(url: str) -> str:
    """The first model that the server lists. Raises ``Failed`` if there is none."""
    if not url.startswith(("http://", "https://")):
        raise Failed(f"--model-url {url}: is not a URL that begins with http:// or https://")
    models = url.rstrip("/").removesuffix("/v1") + "/v1/models"
    # The emulator calls the server directly too, whatever proxies the environment names.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(models, timeout=_SECONDS) as answer:
            return str(json.load(answer)["data"][0]["id"])
    except HTTPError as exc:
        exc.close()
        raise Failed(f"--model-url {url}: {models} answers {exc.code} {exc.reason}") from exc
    except (OSError, HTTPException) as exc:
        cause = exc.reason if isinstance(exc, URLError) else exc
        reason = getattr(cause, "strerror", None) or cause
        raise Failed(f"--model-url {url}: nothing answers at {models} ({reason})") from exc
    except (ValueError, LookupError, TypeError) as exc:
        raise Failed(f"--model-url {url}: {models} names no model") from exc
