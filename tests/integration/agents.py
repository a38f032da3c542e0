"""What the tests of the APIs that agents speak have in common: models, and a proxy before them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proxy.keys import hash_key
from tests.emulator.containers import agent, lmi, scripted, tgi
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.running import RunningProxy
from tests.integration.test_dialects import LMI, TGI

SETTINGS = f"""{QUICK}
[models.templated]
endpoint = "tgi"
chat_template = "chatml"
[models.long]
endpoint = "agent"
long_requests = true
[models.backed]
endpoint = "fails"
fallbacks = ["agent"]
[models.renamed]
endpoint = "demo-chat"
served_model = "demo-chat"
"""

NO_USAGE = {
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "All."}}
    ]
}
WHOLE = {**NO_USAGE, "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}
FAILURE = b'data: {"error":{"message":"out of memory","type":"InternalServerError","code":500}}\n\n'


def answering(said: object) -> Any:
    """A container that answers this, in one piece."""
    return scripted.application(json.dumps(said).encode(), content_type="application/json")


def add_models(emulator: Emulator) -> None:
    """An agent's model, other dialects, one that answers whole, and one that fails."""
    emulator.add_endpoint("agent", agent.application())
    emulator.add_endpoint("lmi", lmi.application(vllm=True), image=LMI)
    emulator.add_endpoint("tgi", tgi.application(), image=TGI)
    emulator.add_endpoint("whole", answering(WHOLE))
    emulator.add_endpoint("fails", scripted.application(FAILURE))


@contextmanager
def serving(
    emulator: Emulator, directory: Path, limited: str, requests_per_minute: int
) -> Iterator[RunningProxy]:
    """A proxy that has, beside its own key, one with a limit and a few models."""
    (directory / "keys.toml").write_text(
        f'[keys.limited]\nsha256 = "{hash_key(limited)}"\nmodels = ["demo-*"]\n'
        f"requests_per_minute = {requests_per_minute}\n"
    )
    with RunningProxy(directory, emulator.environment(), SETTINGS) as proxy:
        yield proxy
