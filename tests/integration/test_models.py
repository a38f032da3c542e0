"""Inference components and aliases are models of their own, with others to fall back on."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.running import ROOT, RunningProxy, clean_environment

ALIASES = """
[models."meta/llama"]
endpoint = "blue"
served_model = "Llama-3"
fallbacks = ["green", "shared/small"]
[models.gone]
endpoint = "never-was"
fallbacks = ["shared/small"]
"""
SETTINGS = QUICK.replace("[catalog]", '[catalog]\nexclude = ["demo-e*", "*large"]') + ALIASES

HELLO: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def deployed(emulator: Emulator) -> Emulator:
    """Containers that refuse a model by any other name than their own, or none."""
    emulator.add_endpoint("blue", chat.application(("Llama-3",)))
    emulator.add_endpoint("green", chat.application(("other",)))
    emulator.add_endpoint(
        "shared", chat.application(("Small",)), kind="components", components=["small", "large"]
    )
    return emulator


@pytest.fixture(scope="module")
def proxy(deployed: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory: Path = tmp_path_factory.mktemp("proxy")
    with RunningProxy(directory, deployed.environment(), SETTINGS) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def client(proxy: RunningProxy) -> Iterator[openai.OpenAI]:
    with (
        openai.DefaultHttpxClient(verify=proxy.client_context()) as http,
        openai.OpenAI(
            api_key=proxy.key, base_url=f"{proxy.url}/v1", max_retries=0, http_client=http
        ) as client,
    ):
        yield client


def served_by(client: openai.OpenAI, model: str) -> str | None:
    answer = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
    assert answer.parse().choices[0].message.content
    return answer.headers.get("X-Served-By")


def test_all_are_listed_with_what_they_are(client: openai.OpenAI) -> None:
    listed = {model.id: model.model_dump() for model in client.models.list()}
    assert {name: model["kind"] for name, model in listed.items()} == {
        "blue": "endpoint",
        "demo-chat": "endpoint",
        "demo-regression": "endpoint",
        "gone": "alias",
        "green": "endpoint",
        "meta/llama": "alias",
        "shared": "endpoint",
        "shared/small": "inference_component",
        "slow-chat": "endpoint",
    }
    assert listed["meta/llama"]["status"] == "InService"
    assert listed["gone"]["status"] is None


@pytest.mark.parametrize("name", ["meta/llama", "shared/small", "blue"])
def test_each_is_found_by_its_name(client: openai.OpenAI, name: str) -> None:
    assert client.models.retrieve(name).id == name


@pytest.mark.parametrize("name", ["demo-echo", "shared/large", "shared/none"])
def test_what_is_excluded_is_as_what_does_not_exist(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.models.retrieve(name)
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(model=name, messages=HELLO)


@pytest.mark.parametrize(
    ("endpoint", "component"), [("demo-echo", None), ("demo-echo", "any"), ("shared", "large")]
)
def test_nor_is_it_found_by_sagemakers_own_paths(
    proxy: RunningProxy, endpoint: str, component: str | None
) -> None:
    headers = {"X-Amzn-SageMaker-Inference-Component": component}
    with proxy.session() as session:
        url = f"{proxy.url}/endpoints/{endpoint}/invocations"
        answer = session.post(url, data=b"hello", headers=headers)
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (404, "ValidationError")


def test_an_inference_component_is_called_by_its_name(
    client: openai.OpenAI, deployed: Emulator
) -> None:
    assert served_by(client, "shared/small") is None
    call = deployed.calls("shared")[-1]
    assert call.headers["X-Amzn-SageMaker-Inference-Component"] == "small"
    assert b'"model":""' in call.body.replace(b" ", b"")


def test_an_alias_is_served_by_what_it_names(client: openai.OpenAI, deployed: Emulator) -> None:
    assert served_by(client, "meta/llama") == "blue"
    assert b'"Llama-3"' in deployed.calls("blue")[-1].body


@pytest.mark.parametrize("stream", [False, True])
def test_where_it_fails_the_next_one_answers(
    client: openai.OpenAI, deployed: Emulator, stream: bool
) -> None:
    deployed.set_fault("blue", "model_error")
    deployed.set_fault("green", "not_ready", times=None)
    answer = client.chat.completions.with_raw_response.create(
        model="meta/llama", messages=HELLO, stream=stream
    )
    answer.http_response.read()
    assert answer.headers["X-Served-By"] == "shared/small"


def test_what_was_refused_is_not_tried_elsewhere(client: openai.OpenAI, deployed: Emulator) -> None:
    before = len(deployed.calls("green"))
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="meta/llama", messages=[])
    assert len(deployed.calls("green")) == before


def test_what_is_not_deployed_is_not_even_tried(client: openai.OpenAI) -> None:
    assert served_by(client, "gone") == "shared/small"


def test_where_all_fail_the_last_ones_failure_is_told(
    client: openai.OpenAI, deployed: Emulator
) -> None:
    for endpoint in ("blue", "green", "shared"):
        deployed.set_fault(endpoint, "model_error")
    with pytest.raises(openai.InternalServerError) as failure:
        client.chat.completions.create(model="meta/llama", messages=HELLO)
    assert failure.value.status_code == 502


def test_the_command_prints_them(deployed: Emulator, tmp_path: Path) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "models", "--config", str(settings)],
        cwd=ROOT,
        env=clean_environment(tmp_path) | deployed.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][0] == "MODEL"
    assert [
        "shared/small",
        "inference_component",
        "InService",
        "-",
        "ml.m5.large",
        "shared",
    ] in lines
    assert ["gone", "alias", "-", "-", "-", "never-was"] in lines
