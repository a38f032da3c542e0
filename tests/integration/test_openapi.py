"""The description is of this proxy: complete, valid, and true whatever is sent."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.specs.openapi import checks

from proxy import __version__
from proxy.application import ROUTES
from proxy.errors import ProxyError, ResultNotFound
from proxy.openapi import description
from tests.emulator.containers import huggingface, pooling, tei, tgi
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.raw import RawClient
from tests.integration.running import ROOT, RunningProxy
from tests.integration.test_async import fetch, result_url, submit
from tests.integration.test_dialects import PIPELINE, TEI, TGI

SETTINGS = f"""{QUICK}
[models.strict-text]
endpoint = "tgi"
chat_template = "chatml"
[models.strict-vectors]
endpoint = "embedder"
dimensions = true
"""

CONFIG = Path(__file__).with_name("schemathesis.toml")

# What stands for the variables of a path.
PATHS = {
    "/docs/{file}": "/docs/docs.js",
    "/console/{file}": "/console/console.js",
    "{name}": "demo-echo",
    "{id}": "demo-chat",
}

DOCUMENT = description()
OPERATIONS = [
    (path, method.upper(), operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
]


@pytest.fixture(scope="module")
def proxy(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    emulator.add_endpoint("tgi", tgi.application(), image=TGI)
    emulator.add_endpoint("embedder", tei.application(), image=TEI)
    emulator.add_endpoint("vectors", pooling.application())
    emulator.add_endpoint("reranker", tei.application("rerank"), image=TEI)
    for name, task in (
        ("whisper", "automatic-speech-recognition"),
        ("features", "feature-extraction"),
    ):
        emulator.add_endpoint(name, huggingface.application(task), image=PIPELINE)
    directory: Path = tmp_path_factory.mktemp("proxy")
    with RunningProxy(directory, emulator.environment(), SETTINGS) as proxy:
        yield proxy


@pytest.fixture
def raw(proxy: RunningProxy) -> Iterator[RawClient]:
    with RawClient(proxy) as client:
        yield client


def test_it_is_valid_openapi() -> None:
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []
    assert DOCUMENT["info"]["version"] == __version__


def test_it_has_every_route_and_method() -> None:
    routes = {route: set(handler.methods) - {"HEAD"} for route, _, handler in ROUTES}
    described: dict[str, set[str]] = {path: set() for path in DOCUMENT["paths"]}
    for path, method, _ in OPERATIONS:
        described[path].add(method)
    assert described == routes


def test_it_says_which_routes_are_public() -> None:
    public = {route for route, _, handler in ROUTES if handler.public}
    assert {path for path, _, operation in OPERATIONS if operation.get("security") == []} == public


def test_it_has_every_error() -> None:
    error = DOCUMENT["components"]["schemas"]["Error"]["properties"]["error"]["properties"]
    classes: list[type[ProxyError]] = [ProxyError, *subclasses(ProxyError)]
    classes.remove(ResultNotFound)  # which has SageMaker's shape alone
    assert {each.code for each in classes} == set(error["code"]["enum"])
    assert {each.type for each in classes} == set(error["type"]["enum"])


def subclasses(base: type[ProxyError]) -> Iterator[type[ProxyError]]:
    for each in base.__subclasses__():
        yield each
        yield from subclasses(each)


def test_it_is_served_to_everybody(raw: RawClient) -> None:
    answer = raw.request("GET", "/openapi.json", {})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == DOCUMENT


@pytest.mark.parametrize(
    ("path", "method", "operation"), OPERATIONS, ids=[f"{m} {path}" for path, m, _ in OPERATIONS]
)
def test_a_lock_means_that_a_key_is_needed(
    raw: RawClient, path: str, method: str, operation: dict[str, Any]
) -> None:
    for variable, value in PATHS.items():
        path = path.replace(variable, value)
    status = raw.request(method, path, {}).status
    assert status == (200 if operation.get("security") == [] else 401)


@pytest.mark.parametrize(
    ("endpoint", "status"), [("demo-echo", 200), ("demo-chat", 424), (None, 404)]
)
def test_the_result_of_an_asynchronous_call_is_as_described(
    proxy: RunningProxy, session: requests.Session, endpoint: str | None, status: int
) -> None:
    path = "/endpoints/{name}/async-invocations"
    accepted = submit(session, proxy, endpoint or "demo-echo", b"no JSON")
    check(path, "POST", accepted)
    url = result_url(proxy, accepted)
    if endpoint:
        check(f"{path}/{{id}}", "GET", session.get(url))
    result = fetch(session, url) if endpoint else session.get(f"{url}x")
    assert result.status_code == status
    check(f"{path}/{{id}}", "GET", result)


def check(path: str, method: str, answer: requests.Response) -> None:
    """Compare an answer with all that its operation says of it."""
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path][method]
    operation.Case(path_parameters={"name": "any", "id": "any"}).validate_response(
        answer,
        checks=[
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_headers_conformance,
            checks.response_schema_conformance,
        ],
    )


@pytest.mark.timeout(400)
def test_schemathesis_finds_nothing(proxy: RunningProxy, tmp_path: Path) -> None:
    """Requests that are as described, and such as are not; all of every answer is looked at."""
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(DOCUMENT))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    command += [str(document), "--url", proxy.url, "--tls-verify", str(proxy.certificate)]
    command += ["--header", f"Authorization: Bearer {proxy.key}"]
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Tested: {len(OPERATIONS)}" in done.stdout
