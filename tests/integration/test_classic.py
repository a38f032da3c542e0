"""The predecessor's contract, called as its scripts call it: with requests."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from proxy import __version__
from tests.emulator.containers import echo
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.running import RunningProxy

MORE_THAN_A_PAGE = 105  # ListEndpoints gives 100 at most


@pytest.fixture(scope="module")
def many(emulator: Emulator) -> None:
    """Endpoints of every kind, and more than one page of them."""
    url = emulator.container_url("demo-echo")
    for kind in ("serverless", "components", "multi-container"):
        emulator.add_endpoint(f"kind-{kind}", url, kind=kind)
    emulator.add_endpoint(
        "secretive",
        echo.application(),
        image="1.dkr.ecr.us-east-1.amazonaws.com/llm:1",
        instance_type="ml.g5.xlarge",
        environment={
            "HF_TOKEN": "hf_verysecret",
            "MODEL_API_KEY": "verysecret",
            "MAX_TOTAL_TOKENS": "4096",
            "HF_MODEL_ID": "org/model",
        },
    )
    for number in range(MORE_THAN_A_PAGE):
        emulator.add_endpoint(f"page-{number:03}", url)


@pytest.fixture(scope="module")
def proxy(
    emulator: Emulator, many: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    directory: Path = tmp_path_factory.mktemp("proxy")
    with RunningProxy(directory, emulator.environment(), QUICK) as proxy:
        yield proxy


def test_a_browser_at_the_root_is_led_to_the_console(proxy: RunningProxy) -> None:
    with proxy.session() as session:
        del session.headers["Authorization"]
        seen = {"Accept": "text/html,application/xhtml+xml"}
        answer = session.get(proxy.url, headers=seen, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, "console")
        assert session.get(proxy.url).status_code == 401
        answer = session.get(proxy.url, headers={**seen, "X-API-Key": "wrong"})
        assert answer.status_code == 401


def test_the_root_names_the_proxy_and_its_version(
    session: requests.Session, proxy: RunningProxy
) -> None:
    assert session.get(f"{proxy.url}/").json() == {"sagemaker-proxy": __version__}


def test_every_endpoint_of_every_page_is_listed(
    session: requests.Session, proxy: RunningProxy
) -> None:
    listed: list[dict[str, Any]] = session.get(f"{proxy.url}/list_endpoints").json()
    names = [endpoint["EndpointName"] for endpoint in listed]
    assert sum(name.startswith("page-") for name in names) == MORE_THAN_A_PAGE
    assert names == sorted(names)
    fields = {
        "EndpointName",
        "EndpointStatus",
        "InstanceType",
        "Container",
        "ModelEnvironment",
    }
    assert all(set(endpoint) == fields for endpoint in listed)
    assert all(isinstance(endpoint["ModelEnvironment"], dict) for endpoint in listed)
    assert {endpoint["EndpointStatus"] for endpoint in listed} == {"InService"}


def test_endpoints_without_model_container_or_instance_are_listed_too(
    session: requests.Session, proxy: RunningProxy
) -> None:
    listed = {
        item["EndpointName"]: item for item in session.get(f"{proxy.url}/list_endpoints").json()
    }
    assert listed["kind-serverless"]["InstanceType"] is None
    assert listed["kind-serverless"]["Container"]
    assert listed["kind-components"]["Container"] is None
    assert listed["kind-components"]["ModelEnvironment"] == {}
    assert listed["kind-multi-container"]["Container"]


def test_secrets_in_the_models_environment_are_masked(
    session: requests.Session, proxy: RunningProxy
) -> None:
    answer = session.get(f"{proxy.url}/list_endpoints")
    (endpoint,) = [item for item in answer.json() if item["EndpointName"] == "secretive"]
    assert "verysecret" not in answer.text
    assert endpoint == {
        "EndpointName": "secretive",
        "EndpointStatus": "InService",
        "InstanceType": "ml.g5.xlarge",
        "Container": "1.dkr.ecr.us-east-1.amazonaws.com/llm:1",
        "ModelEnvironment": {
            "HF_TOKEN": "********",
            "MODEL_API_KEY": "********",
            "MAX_TOTAL_TOKENS": "4096",
            "HF_MODEL_ID": "org/model",
        },
    }


def test_predict_forwards_the_body_and_returns_the_answer_as_they_are(
    session: requests.Session, proxy: RunningProxy, emulator: Emulator
) -> None:
    body = b'{ "z":1e400, "model" : "demo-echo","t":"\\u00e9 \xc3\xa9",  "n":12345678901234567890 }'
    answer = session.post(f"{proxy.url}/predict", data=body)
    assert answer.content == body
    assert answer.headers["Content-Type"] == "application/json"
    assert emulator.calls("demo-echo")[-1].body == body


def test_predict_streams_what_the_container_streams(
    session: requests.Session, proxy: RunningProxy
) -> None:
    body = {
        "model": "demo-chat",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
    }
    with session.post(f"{proxy.url}/predict", json=body, stream=True) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == b"data: [DONE]"
    assert json.loads(lines[0].removeprefix(b"data: "))["object"] == "chat.completion.chunk"


def test_chat_completions_answer_without_the_version_prefix(
    session: requests.Session, proxy: RunningProxy
) -> None:
    body = {"model": "demo-chat", "messages": [{"role": "user", "content": "hello"}]}
    answer = session.post(f"{proxy.url}/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("path", ["/predict", "/chat/completions"])
def test_an_unknown_model_is_a_404(
    session: requests.Session, proxy: RunningProxy, path: str
) -> None:
    answer = session.post(f"{proxy.url}{path}", json={"model": "no-such-model"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/", "/list_endpoints", "/predict", "/chat/completions"])
def test_every_route_wants_the_key(
    session: requests.Session, proxy: RunningProxy, path: str
) -> None:
    method = "POST" if path in ("/predict", "/chat/completions") else "GET"
    for key in (None, "Bearer wrong"):
        # requests drops a header that is None.
        headers = {"Authorization": key}
        answer = session.request(method, f"{proxy.url}{path}", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"


def test_an_endpoint_made_after_the_start_is_found_at_once(
    session: requests.Session, proxy: RunningProxy, emulator: Emulator
) -> None:
    emulator.add_endpoint("latecomer", emulator.container_url("demo-echo"))
    answer = session.post(f"{proxy.url}/predict", json={"model": "latecomer"})
    assert answer.json() == {"model": "latecomer"}
