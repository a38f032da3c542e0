"""The proxy calls what the template's role may call, and the role may call no more than that."""

from pathlib import Path

import requests

from tests.cloudformation.permissions import actions
from tests.cloudformation.template import resolve
from tests.emulator.asynchronous import OUTPUT_BUCKET
from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.running import RunningProxy

CHAT = {"model": "demo-chat", "messages": [{"role": "user", "content": "Hello"}]}


def use_everything(session: requests.Session, url: str) -> None:
    """Take every route that reaches AWS."""
    asynchronous = {"X-Amzn-SageMaker-InputLocation": "s3://bucket/input.json"}
    endpoint = f"{url}/endpoints/demo-chat"
    for answer in (
        session.get(f"{url}/list_endpoints"),
        session.post(f"{url}/v1/chat/completions", json={**CHAT, "model": "shared/part"}),
        session.get(f"{url}/v1/models"),
        session.post(f"{url}/v1/chat/completions", json=CHAT),
        session.post(f"{url}/v1/chat/completions", json={**CHAT, "stream": True}),
        session.post(f"{url}/predict", json=CHAT),
        session.post(f"{endpoint}/invocations", json=CHAT),
        session.post(f"{endpoint}/invocations-response-stream", json=CHAT),
        session.post(f"{endpoint}/async-invocations", headers=asynchronous),
        large := session.post(f"{endpoint}/async-invocations", data=b" " * 128_001),
    ):
        assert answer.ok, answer.text
    # No JSON, so there is never an output: S3 has to tell so each time.
    assert session.get(url + large.headers["Location"]).status_code in (202, 424)


def test_every_action_that_the_role_may_take_is_taken_and_no_other(
    emulator: Emulator, tmp_path: Path
) -> None:
    config = f'{QUICK}[async_inference]\ninput_location = "s3://{OUTPUT_BUCKET}/in/"\n'
    emulator.add_endpoint("shared", chat.application(), kind="components", components=["part"])
    with (
        RunningProxy(tmp_path, emulator.environment(), config) as proxy,
        proxy.session() as session,
    ):
        use_everything(session, proxy.url)
    assert {action for action, _resource in emulator.permissions_used()} == actions(
        resolve(AsyncBucket=OUTPUT_BUCKET)
    )
