"""The page with the API's description: whole, from here alone, and bound to it."""

import hashlib
import re
from collections.abc import Iterator

import pytest

from proxy.handlers.docs import FILES
from tests.integration.raw import RawAnswer, RawClient
from tests.integration.running import ROOT, RunningProxy

FOLDER = ROOT / "proxy" / "assets" / "docs"


@pytest.fixture
def raw(proxy: RunningProxy) -> Iterator[RawClient]:
    with RawClient(proxy) as client:
        yield client


@pytest.fixture
def page(raw: RawClient) -> RawAnswer:
    return raw.request("GET", "/docs", {})


def test_the_page_needs_no_key(page: RawAnswer) -> None:
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_it_loads_what_is_served_beside_it_and_nothing_else(
    raw: RawClient, page: RawAnswer
) -> None:
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page.body.decode())
    assert "docs/swagger-ui-bundle.js" in loaded
    for path in loaded:
        assert path == "data:," or raw.request("GET", f"/{path}", {}).status == 200


def test_the_browser_keeps_it_from_all_else(page: RawAnswer) -> None:
    policy = dict(
        part.split(" ", 1) for part in page.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert not re.search(rb"<script>|<style>| style=| on\w+=", page.body)


def test_it_keeps_no_key_and_asks_nobody_else() -> None:
    script = (FOLDER / "docs.js").read_text()
    assert "persistAuthorization: false" in script
    assert "validatorUrl: null" in script


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_as_it_was_shipped(raw: RawClient, name: str) -> None:
    answer = raw.request("GET", f"/docs/{name}", {})
    assert (answer.status, answer.body) == (200, (FOLDER / name).read_bytes())
    assert answer.headers["content-type"] == FILES[name]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_swagger_ui_is_unmodified() -> None:
    sums = {}
    for line in (FOLDER / "SHA256SUMS").read_text().splitlines():
        expected, name = line.split()
        sums[name] = expected
    assert set(sums) == FILES.keys() - {"docs.js"}
    for name, expected in sums.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == expected


@pytest.mark.parametrize("path", ["/docs", "/docs/swagger-ui-bundle.js", "/openapi.json"])
def test_what_a_client_has_is_not_sent_again(
    raw: RawClient, proxy: RunningProxy, path: str
) -> None:
    first = raw.request("GET", path, {})
    assert first.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": first.headers["etag"], "X-Request-Id": f"again{path.count('/')}"}
    again = raw.request("GET", path, known)
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert proxy.wait_for_request(known["X-Request-Id"])["bytes_out"] == 0
    assert raw.request("GET", path, {"If-None-Match": '"another"'}).body == first.body


def test_head_tells_the_size(raw: RawClient, page: RawAnswer) -> None:
    head = raw.request("HEAD", "/docs", {})
    assert (head.status, head.headers["content-length"]) == (200, str(len(page.body)))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..%2f..%2fopenapi.yaml",
        "..%2fdocs%2fdocs.js",
        "../../config.py",
        "docs.html",
        "README.md",
        "SHA256SUMS",
        "docs.js%00",
        "docs.js/",
        "%2e%2e%2f%2e%2e%2f__init__.py",
    ],
)
def test_nothing_else_is_served(raw: RawClient, proxy: RunningProxy, name: str) -> None:
    answer = raw.request("GET", f"/docs/{name}", proxy.headers)
    assert answer.status == 404
    assert answer.json()["error"]["code"] == "not_found"
