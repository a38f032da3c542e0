"""The pages for a browser: whole, from here alone, and bound to it."""

import re
from collections.abc import Iterator

import pytest

from proxy.handlers import console, docs
from proxy.handlers.pages import Page
from tests.integration.raw import RawAnswer, RawClient
from tests.integration.running import RunningProxy

PAGES = [console.PAGE, docs.PAGE]
FILES = [(page, name) for page in PAGES for name in page.files]


@pytest.fixture
def raw(proxy: RunningProxy) -> Iterator[RawClient]:
    with RawClient(proxy) as client:
        yield client


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Page:
    found: Page = request.param
    return found


@pytest.fixture
def answer(raw: RawClient, page: Page) -> RawAnswer:
    return raw.request("GET", f"/{page.name}", {})


def test_a_page_needs_no_key(answer: RawAnswer, page: Page) -> None:
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.body == (page.folder / f"{page.name}.html").read_bytes()


def test_it_loads_what_is_served_beside_it_and_nothing_else(
    raw: RawClient, answer: RawAnswer, page: Page
) -> None:
    loaded = re.findall(r'(?:src|href)="([^"]*)"', answer.body.decode())
    assert f"{page.name}/{page.name}.js" in loaded
    for path in loaded:
        assert path == "data:," or raw.request("GET", f"/{path}", {}).status == 200


def test_the_browser_keeps_it_from_all_else(answer: RawAnswer) -> None:
    policy = dict(
        part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not re.search(rb"<script>|<style>| style=| on\w+=", answer.body)


def test_every_shipped_file_is_served(page: Page) -> None:
    unserved = {f"{page.name}.html", "SHA256SUMS", "README.md"}
    assert {file.name for file in page.folder.iterdir()} - unserved == page.files.keys()


@pytest.mark.parametrize(
    ("page", "name"), FILES, ids=[f"{page.name}/{name}" for page, name in FILES]
)
def test_each_file_is_as_it_was_shipped(raw: RawClient, page: Page, name: str) -> None:
    answer = raw.request("GET", f"/{page.name}/{name}", {})
    assert (answer.status, answer.body) == (200, (page.folder / name).read_bytes())
    assert answer.headers["content-type"] == page.files[name]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/console", "/docs", "/console/api.js", "/openapi.json"])
def test_what_a_client_has_is_not_sent_again(
    raw: RawClient, proxy: RunningProxy, path: str
) -> None:
    first = raw.request("GET", path, {})
    assert first.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": first.headers["etag"], "X-Request-Id": path.replace("/", "again-")}
    again = raw.request("GET", path, known)
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert proxy.wait_for_request(known["X-Request-Id"])["bytes_out"] == 0
    assert raw.request("GET", path, {"If-None-Match": '"another"'}).body == first.body


def test_head_tells_the_size(raw: RawClient, answer: RawAnswer, page: Page) -> None:
    head = raw.request("HEAD", f"/{page.name}", {})
    assert (head.status, head.headers["content-length"]) == (200, str(len(answer.body)))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..%2f..%2fopenapi.yaml",
        "..%2fdocs%2fdocs.js",
        "../../config.py",
        "docs.html",
        "console.html",
        "README.md",
        "SHA256SUMS",
        "docs.js%00",
        "docs.js/",
        "%2e%2e%2f%2e%2e%2f__init__.py",
    ],
)
def test_nothing_else_is_served(raw: RawClient, proxy: RunningProxy, page: Page, name: str) -> None:
    answer = raw.request("GET", f"/{page.name}/{name}", proxy.headers)
    assert answer.status == 404
    assert answer.json()["error"]["code"] == "not_found"
