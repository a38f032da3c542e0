"""Whatever a client says, nothing but an endpoint that its key is for is called, and no other host.

What reaches SageMaker is looked at byte by byte.
"""

import json
import re
import uuid
from collections.abc import Iterator

import pytest

from proxy.keys import hash_key
from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.raw import RawAnswer, RawClient
from tests.integration.recorder import OK, Recorder
from tests.integration.running import RunningProxy

OWN, OTHER = "demo-echo", "demo-chat"
NARROW, OF_PARTS = str(uuid.uuid4()), str(uuid.uuid4())

LINE = re.compile(
    r"POST /endpoints/([A-Za-z0-9-]{1,63})"
    r"/(?:invocations|invocations-response-stream|async-invocations) HTTP/1\.1"
)

# All that a request to SageMaker has, but for what begins with X-Amzn-SageMaker-.
SENT = {"host", "content-length", "content-type", "accept", "authorization"}
SENT |= {"x-amz-date", "x-amz-security-token"}

PATHS = [
    "/endpoints/{own}/../{other}/invocations",
    "/endpoints/{own}/%2e%2e/{other}/invocations",
    "/endpoints/{own}%2f..%2f{other}/invocations",
    "/endpoints/{own}%2F{other}/invocations",
    "/endpoints/{own}%5c..%5c{other}/invocations",
    "/endpoints/{own}/invocations/../../{other}/invocations",
    "/endpoints/./{other}/invocations",
    "/endpoints//{other}/invocations",
    "//endpoints/{other}/invocations",
    "/endpoints/../endpoints/{other}/invocations",
    "/endpoints/%2e%2e/invocations",
    "/endpoints/%2e/invocations",
    "/endpoints/%64emo-chat/invocations",
    "/endpoints/%2564emo-chat/invocations",
    "/endpoints/{other};x=y/invocations",
    "/endpoints/{own};/../{other}/invocations",
    "/endpoints/{other}%00/invocations",
    "/endpoints/{own}%00{other}/invocations",
    "/endpoints/{other}%20/invocations",
    "/endpoints/{other}%3f/invocations",
    "/endpoints/{other}%23/invocations",
    "/endpoints/{own}%0d%0aX-Injected:%201/invocations",
    "/endpoints/{own}%20HTTP/1.1%0d%0aHost:%20x/invocations",
    "/endpoints/{own}%0a/invocations",
    "/endpoints/dem\u043e-chat/invocations",
    "/endpoints/%d0%beemo-echo/invocations",
    "/endpoints/%ef%bd%84emo-echo/invocations",
    "/endpoints/%ff/invocations",
    "/endpoints/%c0%ae%c0%ae/invocations",
    "/endpoints/%/invocations",
    "/endpoints/%zz/invocations",
    "/endpoints/*/invocations",
    "/endpoints/{other}/invocations/",
    "/endpoints/{other}/invocations%2f",
    "/endpoints/{other}/invocations%3fx",
    "/endpoints/{other}/update",
    "/endpoints/{other}",
    "/%65ndpoints/{other}/invocations",
    "/ENDPOINTS/{other}/invocations",
    "//127.0.0.1:{port}/endpoints/{own}/invocations",
    "@127.0.0.1:{port}/endpoints/{own}/invocations",
]

MODELS = [
    "{own}/../{other}",
    "../{other}",
    "{own}/invocations/../../{other}",
    "{other}%00",
    "{other}\u0000",
    "{other} ",
    "{other}?x",
    "{other}#x",
    "{other}/",
    "/{other}",
    "{own}\r\nX-Injected: 1",
    "{own} HTTP/1.1\r\nHost: x",
    "dem\u043e-chat",
    "\uff44emo-chat",
    "\ud800",
    "http://127.0.0.1:{port}/x",
    "127.0.0.1:{port}",
    "*",
    "",
]


@pytest.fixture(scope="module")
def sagemaker() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Recorder]:
    """Another host, which nobody is to call."""
    with Recorder() as recorder:
        yield recorder
        assert recorder.connections == 0


@pytest.fixture(autouse=True)
def as_at_first(sagemaker: Recorder) -> None:
    sagemaker.answer = OK
    sagemaker.received.clear()


@pytest.fixture(scope="module")
def proxy(
    emulator: Emulator, sagemaker: Recorder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("proxy")
    (directory / "keys.toml").write_text(
        f'[keys.narrow]\nsha256 = "{hash_key(NARROW)}"\nmodels = ["{OWN}"]\n'
        f'[keys.of-parts]\nsha256 = "{hash_key(OF_PARTS)}"\nmodels = ["*/part"]\n'
    )
    emulator.add_endpoint("shared", chat.application(), kind="components", components=["part"])
    environ = emulator.environment() | {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": sagemaker.url}
    with RunningProxy(directory, environ, QUICK) as proxy:
        yield proxy
        assert not [line for line in proxy.log if "unforeseen error" in line]


@pytest.fixture
def raw(proxy: RunningProxy) -> Iterator[RawClient]:
    with RawClient(proxy) as client:
        yield client


def called(sagemaker: Recorder) -> set[str]:
    """The endpoints that were; each call is one, and has nothing in it that has no place there."""
    endpoints = set()
    for request in sagemaker.received:
        line = LINE.fullmatch(request.line)
        assert line, request.line
        endpoints.add(line[1])
        names = [name.lower() for name, _ in request.headers]
        assert len(set(names)) == len(names)
        assert {name for name in names if not name.startswith("x-amzn-sagemaker-")} <= SENT
        assert request.values("Host") == [sagemaker.url.removeprefix("http://")]
    return endpoints


def headers(key: str, **more: str) -> dict[str, str]:
    return {"X-API-Key": key, **{name.replace("_", "-"): value for name, value in more.items()}}


def test_the_recorder_sees_a_call(raw: RawClient, sagemaker: Recorder) -> None:
    assert raw.request("POST", f"/endpoints/{OWN}/invocations", headers(NARROW), b"x").status == 200
    assert called(sagemaker) == {OWN}
    assert sagemaker.received[0].body == b"x"


class TestPaths:
    @pytest.mark.parametrize("path", PATHS)
    def test_no_trick_leads_to_an_endpoint_of_others(
        self, proxy: RunningProxy, sagemaker: Recorder, elsewhere: Recorder, path: str
    ) -> None:
        with RawClient(proxy) as raw:
            shown = path.format(own=OWN, other=OTHER, port=elsewhere.port)
            raw.send(
                f"POST {shown} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {NARROW}\r\n"
                "Content-Length: 2\r\n\r\n{}"
            )
            assert 400 <= raw.read_answer().status < 500
        assert called(sagemaker) == set()

    @pytest.mark.parametrize("path", ["?x=/../", "?/endpoints/{other}/invocations", "?%0d%0aX: 1"])
    def test_a_query_goes_nowhere(
        self, proxy: RunningProxy, sagemaker: Recorder, path: str
    ) -> None:
        with RawClient(proxy) as raw:
            query = path.format(other=OTHER).replace(" ", "%20")
            answer = raw.request(
                "POST", f"/endpoints/{OWN}/invocations{query}", headers(NARROW), b"x"
            )
        assert answer.status == 200
        assert called(sagemaker) == {OWN}

    @pytest.mark.parametrize("key", ["narrow", "every model"])
    @pytest.mark.parametrize("model", MODELS)
    def test_no_name_of_a_model_is_more_than_a_name(
        self,
        proxy: RunningProxy,
        raw: RawClient,
        sagemaker: Recorder,
        elsewhere: Recorder,
        model: str,
        key: str,
    ) -> None:
        shown = model.format(own=OWN, other=OTHER, port=elsewhere.port)
        body = json.dumps({"model": shown, "messages": []}).encode()
        for path in ("/v1/chat/completions", "/predict"):
            answer = raw.request(
                "POST", path, headers(NARROW if key == "narrow" else proxy.key), body
            )
            assert 400 <= answer.status < 500
        assert called(sagemaker) == set()

    def test_no_component_that_is_not_there_opens_its_endpoint(
        self, raw: RawClient, sagemaker: Recorder
    ) -> None:
        more = headers(OF_PARTS, X_Amzn_SageMaker_Inference_Component="part")
        for operation in ("invocations", "invocations-response-stream", "async-invocations"):
            answer = raw.request("POST", f"/endpoints/{OTHER}/{operation}", more, b"x")
            assert answer.status == 404
        assert called(sagemaker) == set()
        assert raw.request("POST", "/endpoints/shared/invocations", more, b"x").status == 200
        assert called(sagemaker) == {"shared"}

    def test_no_component_is_more_than_a_name(self, raw: RawClient, sagemaker: Recorder) -> None:
        for component in ("../x", "a/b", "a b", "x" * 64, "a,b", "-"):
            more = headers(NARROW, X_Amzn_SageMaker_Inference_Component=component)
            answer = raw.request("POST", f"/endpoints/{OWN}/invocations", more, b"x")
            assert answer.status == 400
        assert called(sagemaker) == set()


class TestHeaders:
    @pytest.mark.parametrize("name", ["X-Amzn-SageMaker-Custom-Attributes", "X-Request-Id"])
    @pytest.mark.parametrize(
        "value",
        [
            b"a\r\n X-Injected: 1",
            b"a\nX-Injected: 1",
            b"a\rX-Injected: 1",
            b"a\0b",
            b"a\x0bX-Injected: 1",
            b"a\xe2\x80\xa8X-Injected: 1",
            b"a\xc2\x85X-Injected: 1",
            b"a%0d%0aX-Injected: 1",
        ],
    )
    def test_no_value_becomes_a_header(
        self, proxy: RunningProxy, sagemaker: Recorder, name: str, value: bytes
    ) -> None:
        with RawClient(proxy) as raw:
            raw.send(
                f"POST /endpoints/{OWN}/invocations HTTP/1.1\r\nHost: localhost\r\n"
                f"X-API-Key: {NARROW}\r\nContent-Length: 0\r\n{name}: ".encode()
                + value
                + b"\r\n\r\n"
            )
            answer = raw.read_answer()
        assert answer.status in (200, 400)
        assert "x-injected" not in answer.headers
        called(sagemaker)
        for request in sagemaker.received:
            assert request.values("X-Injected") == []

    def test_neither_the_key_nor_what_only_we_may_say_goes_on(
        self, proxy: RunningProxy, sagemaker: Recorder
    ) -> None:
        said = {
            "Authorization": f"Bearer {NARROW}",
            "X-Amz-Date": "20000101T000000Z",
            "X-Amz-Security-Token": "stolen",
            "X-Amz-Content-Sha256": "x",
            "Cookie": "a=b",
            "Connection": "keep-alive, X-Amz-Date",
            "X-Forwarded-Host": "elsewhere",
        }
        with RawClient(proxy) as raw:
            assert raw.request("POST", f"/endpoints/{OWN}/invocations", said).status == 200
        assert called(sagemaker) == {OWN}
        (request,) = sagemaker.received
        assert NARROW not in str(request)
        assert "stolen" not in str(request)
        (signed,) = request.values("Authorization")
        assert signed.startswith("AWS4-HMAC-SHA256 ")
        assert request.values("X-Amz-Date")[0].startswith("20")
        assert request.values("X-Amz-Date") != ["20000101T000000Z"]

    def test_what_says_who_calls_for_whom_is_not_believed(
        self, raw: RawClient, proxy: RunningProxy
    ) -> None:
        request_id = uuid.uuid4().hex
        forwarded = {"X-Forwarded-For": "203.0.113.9", "X-Real-Ip": "203.0.113.9"}
        said = headers(NARROW) | forwarded | {"X-Request-Id": request_id, "Forwarded": "for=x"}
        raw.request("GET", "/v1/models", said)
        assert proxy.wait_for_request(request_id)["client"] in ("127.0.0.1", "::1")


class TestOtherHosts:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_no_redirect_is_followed(
        self, raw: RawClient, sagemaker: Recorder, elsewhere: Recorder, status: int
    ) -> None:
        target = f"{elsewhere.url}/endpoints/{OWN}/invocations"
        sagemaker.answer = (
            f"HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        for path in (f"/endpoints/{OWN}/invocations", "/predict"):
            body = json.dumps({"model": OWN}).encode()
            answer = raw.request("POST", path, headers(NARROW), body)
            assert "location" not in answer.headers
            assert not 200 <= answer.status < 300
        assert called(sagemaker) == {OWN}
        assert elsewhere.connections == 0

    @pytest.mark.parametrize(
        "name", ["Host", "X-Forwarded-Host", "X-Original-URL", "X-Rewrite-URL"]
    )
    def test_no_header_leads_to_one(
        self, proxy: RunningProxy, sagemaker: Recorder, elsewhere: Recorder, name: str
    ) -> None:
        value = f"127.0.0.1:{elsewhere.port}"
        value = value if "Host" in name else f"http://{value}/endpoints/{OTHER}/invocations"
        host = "" if name == "Host" else "Host: localhost\r\n"
        with RawClient(proxy) as raw:
            raw.send(
                f"POST /endpoints/{OWN}/invocations HTTP/1.1\r\n{host}{name}: {value}\r\n"
                f"X-API-Key: {NARROW}\r\nContent-Length: 0\r\n\r\n"
            )
            assert raw.read_answer().status == 200
        assert called(sagemaker) == {OWN}

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_no_absolute_address_leads_to_one(
        self, proxy: RunningProxy, sagemaker: Recorder, elsewhere: Recorder, scheme: str
    ) -> None:
        target = f"{scheme}://127.0.0.1:{elsewhere.port}/endpoints/{OWN}/invocations"
        with RawClient(proxy) as raw:
            raw.request("POST", target, headers(NARROW), b"x")
        assert called(sagemaker) <= {OWN}

    def test_it_is_no_proxy_in_the_other_sense(self, proxy: RunningProxy) -> None:
        with RawClient(proxy) as raw:
            raw.send(f"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: x\r\nX-API-Key: {NARROW}\r\n\r\n")
            assert 400 <= raw.read_answer().status < 500


class TestAnswers:
    def ask(self, proxy: RunningProxy) -> RawAnswer:
        with RawClient(proxy) as raw:
            return raw.request("POST", f"/endpoints/{OWN}/invocations", headers(NARROW))

    @pytest.mark.parametrize("end", [b"\r", b"\n", b"\0", b"\x0b", b"\xc2\x85"])
    def test_no_value_of_a_containers_becomes_a_header(
        self, proxy: RunningProxy, sagemaker: Recorder, end: bytes
    ) -> None:
        sagemaker.answer = OK.replace(
            b"\r\n\r\n",
            b"\r\nX-Amzn-SageMaker-Custom-Attributes: a" + end + b"X-Injected: 1\r\n\r\n",
        )
        assert "x-injected" not in self.ask(proxy).headers

    def test_a_container_sets_no_header_but_those_of_sagemaker(
        self, proxy: RunningProxy, sagemaker: Recorder
    ) -> None:
        sagemaker.answer = OK.replace(
            b"\r\n\r\n",
            b"\r\nSet-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\nLocation: x\r\n"
            b"Strict-Transport-Security: max-age=0\r\nServer: container\r\n\r\n",
        )
        answer = self.ask(proxy)
        assert answer.status == 200
        assert answer.headers["server"] == "sagemaker-proxy"
        for name in ("set-cookie", "location", "access-control-allow-origin"):
            assert name not in answer.headers
