"""What the demo prints: where things are, and lines to paste into another shell."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from tests.demo.gateway import Gateway
from tests.demo.processes import shown

_QUESTION = "Tell me a joke about clouds."
_FLAT = "54.5,2,35,12"  # square metres, rooms, age, minutes to the centre

_BOLD, _DIM, _PLAIN = "\033[1m", "\033[2m", "\033[0m"


def print_guide(
    gateway: Gateway, log: Path, models: Sequence[str], first: str, file: TextIO = sys.stdout
) -> None:
    """Print it all; the lines to paste call the model ``first``."""
    colours = file.isatty() and not os.environ.get("NO_COLOR")
    bold, dim, plain = (_BOLD, _DIM, _PLAIN) if colours else ("", "", "")
    facts = {
        "URL": f"{gateway.url}/v1",
        "API key": gateway.key,
        "console": f"{gateway.url}/  (in a browser, with the key)",
        "certificate": f"{shown(gateway.certificate)}  (self-signed, made by the proxy)",
        "models": ", ".join([first, *(name for name in models if name != first)]),
        "log": shown(log),
    }
    print(file=file)
    for name, value in facts.items():
        print(f"  {dim}{name:11}{plain}  {bold}{value}{plain}", file=file)
    print("\nTo paste into another shell, in this folder:", file=file)
    for title, command in commands(gateway, first, models):
        print(f"\n{dim}# {title}{plain}\n{command}", file=file)
    print(f"\n{dim}Ctrl-C ends it.{plain}", file=file, flush=True)


def commands(gateway: Gateway, model: str, models: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each line to paste, after what it shows."""
    certificate = shlex.quote(shown(gateway.certificate))
    python = shlex.quote(shown(Path(sys.executable)))
    curl = f"curl -sS --cacert {certificate} -H 'Authorization: Bearer {gateway.key}'"
    messages = [{"role": "user", "content": _QUESTION}]
    body = json.dumps({"model": model, "stream": True, "messages": messages})
    yield (
        "a chat, streamed",
        f"{curl} -N -H 'Content-Type: application/json' -d {shlex.quote(body)} "
        f"{gateway.url}/v1/chat/completions",
    )
    yield (
        "a regression (a flat's rent), CSV in and out, on SageMaker's own path",
        f"{curl} -H 'Content-Type: text/csv' --data-binary {_FLAT} "
        f"{gateway.url}/endpoints/demo-regression/invocations",
    )
    program = (
        "import openai; "
        f'client = openai.OpenAI(base_url="{gateway.url}/v1", api_key="{gateway.key}"); '
        f'stream = client.chat.completions.create(model="{model}", stream=True, '
        f"messages={json.dumps(messages)}); "
        '[print(choice.delta.content or "", end="", flush=True) '
        "for chunk in stream for choice in chunk.choices]; print()"
    )
    yield (
        "OpenAI's own client, token by token",
        f"SSL_CERT_FILE={certificate} {python} -c {shlex.quote(program)}",
    )
    port = urlsplit(gateway.url).port
    # The scripts take the first model by themselves.
    choice = "" if model == models[0] else f" --model {shlex.quote(model)}"
    for title, script, options in (
        ("the smoke scripts", "invoke_endpoint.py", ""),
        ("… with OpenAI's client", "invoke_endpoint_openai.py", " --stream"),
    ):
        yield (
            title,
            f"API_KEY={gateway.key} {python} tests/smoke/{script} localhost {port} "
            f"--ca {certificate}{choice}{options}",
        )
