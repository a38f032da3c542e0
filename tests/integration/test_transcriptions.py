"""The official OpenAI client sends audio, and gets what a container has heard in it."""

import asyncio
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import requests

from proxy.keys import hash_key
from tests.emulator.containers import huggingface
from tests.emulator.containers.huggingface import transcript
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.raw import RawClient
from tests.integration.running import RunningProxy
from tests.integration.scraping import scrape, scrape_until
from tests.integration.test_dialects import PIPELINE

ROUTE = "/v1/audio/transcriptions"
MOST_BODY_BYTES = 25 * 1024 * 1024  # the default of server.max_body_bytes
LIMITS = {"few-requests": "requests_per_minute = 1", "chats": 'models = ["demo-*"]'}
SETTINGS = f"""{QUICK}
[models.told]
endpoint = "unknown"
dialect = "huggingface"
[models.backed]
endpoint = "missing"
dialect = "huggingface"
fallbacks = ["whisper"]
"""

AUDIO = b"RIFF" + bytes(range(256)) * 300 + b"\r\n--\r\n"
MP3 = ("speech.mp3", AUDIO, "audio/mpeg")

KIND = {"Content-Type": "multipart/form-data; boundary=line"}
MODEL = b'--line\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
FILE = b'--line\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\nabc\r\n'
END = b"--line--\r\n"

Connect = Callable[..., openai.OpenAI]


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    return {name: str(uuid.uuid4()) for name in LIMITS}


@pytest.fixture(scope="module")
def proxy(
    emulator: Emulator, keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    hears = "automatic-speech-recognition"
    emulator.add_endpoint("whisper", huggingface.application(hears), image=PIPELINE)
    emulator.add_endpoint("unknown", huggingface.application(hears), image="private/own:1")
    features = huggingface.application("feature-extraction")
    emulator.add_endpoint("features", features, image=PIPELINE)
    directory: Path = tmp_path_factory.mktemp("proxy")
    (directory / "keys.toml").write_text(
        "".join(
            f'[keys.{name}]\nsha256 = "{hash_key(key)}"\n{LIMITS[name]}\n'
            for name, key in keys.items()
        )
    )
    with RunningProxy(directory, emulator.environment(), SETTINGS) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def connect(proxy: RunningProxy) -> Iterator[Connect]:
    """Makes clients that share connections."""
    with openai.DefaultHttpxClient(verify=proxy.client_context()) as http:

        def connect(key: str = proxy.key, path: str = "/v1") -> openai.OpenAI:
            base_url = f"{proxy.url}{path}"
            return openai.OpenAI(api_key=key, base_url=base_url, max_retries=0, http_client=http)

        yield connect


@pytest.fixture(scope="module")
def client(connect: Connect) -> openai.OpenAI:
    return connect()


@pytest.fixture
def raw(proxy: RunningProxy) -> Iterator[RawClient]:
    with RawClient(proxy) as client:
        yield client


class TestTheOfficialClient:
    @pytest.mark.parametrize("path", ["/v1", ""])
    def test_it_gets_the_text(self, connect: Connect, path: str) -> None:
        answer = connect(path=path).audio.transcriptions.create(model="whisper", file=MP3)
        assert answer.text == transcript(AUDIO)

    def test_it_gets_the_text_alone(self, client: openai.OpenAI) -> None:
        answer = client.audio.transcriptions.with_raw_response.create(
            model="whisper", file=MP3, response_format="text", temperature=0, stream=False
        )
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text == f"{transcript(AUDIO)}\n"

    def test_async(self, proxy: RunningProxy) -> None:
        async def ask() -> list[str]:
            async with openai.AsyncOpenAI(
                api_key=proxy.key,
                base_url=f"{proxy.url}/v1",
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(verify=proxy.client_context()),
            ) as client:
                files = [os.urandom(100_000), os.urandom(1_000_000)]
                answers = await asyncio.gather(
                    *(
                        client.audio.transcriptions.create(model="whisper", file=("a.wav", each))
                        for each in files
                    )
                )
                assert [each.text for each in answers] == [transcript(each) for each in files]
                text = await client.audio.transcriptions.create(
                    model="whisper", file=MP3, response_format="text"
                )
                return [str(text)]

        assert asyncio.run(ask()) == [f"{transcript(AUDIO)}\n"]

    @pytest.mark.parametrize(
        ("asked", "param"),
        [
            ({"response_format": "verbose_json"}, "response_format"),
            ({"response_format": "srt"}, "response_format"),
            ({"response_format": "vtt"}, "response_format"),
            ({"language": "de"}, "language"),
            ({"prompt": "Ada"}, "prompt"),
            ({"temperature": 0.5}, "temperature"),
            ({"timestamp_granularities": ["word"]}, "timestamp_granularities[]"),
            ({"stream": True}, "stream"),
            ({"model": "demo-chat"}, "model"),
            ({"extra_body": {"hotwords": "Ada"}}, "hotwords"),
        ],
    )
    def test_what_the_container_cannot_is_refused_by_name(
        self, client: openai.OpenAI, emulator: Emulator, asked: dict[str, Any], param: str
    ) -> None:
        before = len(emulator.calls("whisper"))
        with pytest.raises(openai.BadRequestError) as refused:
            client.audio.transcriptions.create(**{"model": "whisper", "file": MP3, **asked})
        assert (refused.value.param, refused.value.type) == (param, "invalid_request_error")
        assert len(emulator.calls("whisper")) == before


class TestTheContainer:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [("a.mp3", "audio/mpeg"), ("a.m4a", "audio/x-audio"), ("a", "audio/x-audio")],
    )
    def test_it_gets_the_files_bytes_as_audio(
        self, client: openai.OpenAI, emulator: Emulator, name: str, kind: str
    ) -> None:
        client.audio.transcriptions.create(model="whisper", file=(name, AUDIO))
        call = emulator.calls("whisper")[-1]
        assert (call.body, call.headers["Content-Type"]) == (AUDIO, kind)

    def test_it_gets_as_many_as_a_body_may_have(self, client: openai.OpenAI) -> None:
        audio = os.urandom(MOST_BODY_BYTES - 1000)
        assert client.audio.transcriptions.create(
            model="whisper", file=("long.wav", audio)
        ).text == transcript(audio)

    def test_its_dialect_may_be_told(self, client: openai.OpenAI) -> None:
        assert client.audio.transcriptions.create(model="told", file=MP3).text == transcript(AUDIO)
        with pytest.raises(openai.BadRequestError, match="no transcription"):
            client.audio.transcriptions.create(model="unknown", file=MP3)

    def test_another_one_answers_where_it_does_not(self, client: openai.OpenAI) -> None:
        answer = client.audio.transcriptions.with_raw_response.create(model="backed", file=MP3)
        assert answer.headers["X-Served-By"] == "whisper"
        assert answer.parse().text == transcript(AUDIO)

    def test_it_is_waited_for(self, client: openai.OpenAI, emulator: Emulator) -> None:
        emulator.set_fault("whisper", "no_capacity", times=2)
        assert client.audio.transcriptions.create(model="whisper", file=MP3).text

    def test_what_it_says_against_it_is_the_clients(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError, match="feature-extraction takes texts"):
            client.audio.transcriptions.create(model="features", file=MP3)


class TestHostileForms:
    @pytest.mark.parametrize(
        ("headers", "body", "param"),
        [
            ({"Content-Type": "application/json"}, b'{"model": "whisper"}', None),
            ({"Content-Type": "multipart/form-data"}, MODEL + FILE + END, None),
            ({}, MODEL + FILE + END, None),
            (KIND, MODEL + FILE, None),
            (KIND, (MODEL + FILE + END)[:-30], None),
            (KIND, FILE + END, "model"),
            (KIND, MODEL + END, "file"),
            (KIND, MODEL + FILE + FILE + END, "file"),
            (KIND, MODEL + MODEL + FILE + END, "model"),
            (KIND, MODEL + FILE.replace(b"a.mp3", b"a" * 100_000) + END, None),
            (KIND, MODEL * 10_000 + FILE + END, None),
            (KIND, b"--line\r\n" * 1_000_000 + END, None),
        ],
        ids=range(12),
    )
    def test_they_are_refused_and_the_next_one_is_answered(
        self,
        proxy: RunningProxy,
        raw: RawClient,
        headers: dict[str, str],
        body: bytes,
        param: str | None,
    ) -> None:
        key = {"X-API-Key": proxy.key}
        answer = raw.request("POST", ROUTE, {**key, **headers}, body)
        assert answer.status == 400
        error = answer.json()["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", param)
        answer = raw.request("POST", ROUTE, {**key, **KIND}, MODEL + FILE + END)
        assert answer.json() == {"text": transcript(b"abc")}

    def test_a_wrong_key_is_refused_before_the_body_is_read(self, raw: RawClient) -> None:
        raw.send(
            f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {uuid.uuid4()}\r\n"
            f"Content-Type: {KIND['Content-Type']}\r\nContent-Length: {MOST_BODY_BYTES}\r\n\r\n"
        )
        answer = raw.read_answer()
        assert (answer.status, answer.json()["error"]["code"]) == (401, "invalid_api_key")

    def test_one_that_is_too_large_is_refused_before_it_is_read(
        self, proxy: RunningProxy, raw: RawClient
    ) -> None:
        raw.send(
            f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {proxy.key}\r\n"
            f"Content-Type: {KIND['Content-Type']}\r\nContent-Length: {MOST_BODY_BYTES + 1}\r\n\r\n"
        )
        answer = raw.read_answer()
        assert (answer.status, answer.json()["error"]["code"]) == (413, "request_too_large")

    def test_one_that_grows_too_large_is_refused(
        self, proxy: RunningProxy, session: requests.Session
    ) -> None:
        pieces = iter([MODEL, FILE[:-5], *[bytes(1024 * 1024)] * 26, b"\r\n" + END])
        answer = session.post(f"{proxy.url}{ROUTE}", data=pieces, headers=KIND)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "request_too_large"


class TestTheKey:
    def test_its_limits_hold(self, connect: Connect, keys: dict[str, str]) -> None:
        client = connect(keys["few-requests"])
        client.audio.transcriptions.create(model="whisper", file=MP3)
        with pytest.raises(openai.RateLimitError) as limited:
            client.audio.transcriptions.create(model="whisper", file=MP3)
        assert int(limited.value.response.headers["retry-after"]) > 0

    @pytest.mark.parametrize("model", ["whisper", "not-there"])
    def test_a_model_of_others_is_none(
        self, connect: Connect, keys: dict[str, str], model: str
    ) -> None:
        with pytest.raises(openai.NotFoundError) as missing:
            connect(keys["chats"]).audio.transcriptions.create(model=model, file=MP3)
        assert missing.value.code == "model_not_found"

    def test_metrics_and_log_have_the_request(
        self, proxy: RunningProxy, client: openai.OpenAI
    ) -> None:
        labels = {"route": ROUTE, "model": "whisper", "status": "2xx"}
        before = scrape(proxy).value("requests_total", **labels)
        answer = client.audio.transcriptions.with_raw_response.create(model="whisper", file=MP3)
        scrape_until(proxy, lambda now: now.value("requests_total", **labels) == before + 1)
        entry = proxy.wait_for_request(answer.headers["x-request-id"])
        expected = {"route": ROUTE, "model": "whisper", "key": "default", "status": 200}
        assert expected.items() <= entry.items()
        assert entry["bytes_in"] > len(AUDIO)
        assert entry["upstream_milliseconds"] > 0
