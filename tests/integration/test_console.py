"""The console as people use it: in a real browser, by mouse and keyboard, on any screen."""

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from proxy.keys import hash_key
from tests.emulator.containers import chat, huggingface, tei
from tests.emulator.emulator import Emulator
from tests.integration.browser import Complaints, chromium
from tests.integration.conftest import QUICK
from tests.integration.running import RunningProxy
from tests.integration.test_dialects import PIPELINE, TEI

SETTINGS = QUICK.replace("wake_timeout_seconds = 1.5", "wake_timeout_seconds = 60")
SIZES = {"desktop": (1280, 800), "phone": (360, 740)}
SERIOUS = {"serious", "critical"}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8"
    "cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
KEYS = {
    "nothing": 'models = ["no-*"]',
    "once": "requests_per_minute = 1\nmax_concurrent = 2",
    "watched": "",
    "leaving": "",
}


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    return {name: str(uuid.uuid4()) for name in KEYS}


@pytest.fixture(scope="module")
def deployed(emulator: Emulator) -> Emulator:
    for name, status in (("broken", "Failed"), ("coming", "Creating")):
        emulator.add_endpoint(name, chat.application((name,)))
        emulator.set_status(name, status)
    container = chat.application(("model",))
    emulator.add_endpoint("sleeper", container, kind="components", components=["model"])
    hears = huggingface.application("automatic-speech-recognition")
    emulator.add_endpoint("whisper", hears, image=PIPELINE)
    emulator.add_endpoint("ranker", tei.application("rerank"), image=TEI)
    return emulator


@pytest.fixture(scope="module")
def proxy(
    deployed: Emulator, keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    directory: Path = tmp_path_factory.mktemp("proxy")
    write_keys(directory, keys)
    environ = {**deployed.environment(), "RUNTIME_DIRECTORY": str(directory)}
    with RunningProxy(directory, environ, SETTINGS, workers=2) as proxy:
        yield proxy


def write_keys(directory: Path, keys: dict[str, str]) -> None:
    (directory / "keys.toml").write_text(
        "".join(
            f'[keys.{name}]\nsha256 = "{hash_key(key)}"\n{KEYS[name]}\n'
            for name, key in keys.items()
        )
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


Opened = tuple[Page, Complaints]


@pytest.fixture
def open_page(browser: Browser, proxy: RunningProxy) -> Iterator[Callable[..., Opened]]:
    """Opens the console in a window of its own. Nothing that the page complains of is missed."""
    opened: list[Opened] = []

    def open_one(size: str = "desktop", scheme: Literal["light", "dark"] = "light") -> Opened:
        width, height = SIZES[size]
        context = browser.new_context(
            base_url=proxy.url,
            ignore_https_errors=True,  # the certificate is the proxy's own
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=proxy.url)
        page = context.new_page()
        opened.append((page, Complaints(page)))
        page.goto("/console")
        return opened[-1]

    yield open_one
    for page, complaints in opened:
        page.context.close()
        assert complaints.seen == []


@pytest.fixture
def opened(open_page: Callable[..., Opened]) -> Opened:
    return open_page()


@pytest.fixture
def page(opened: Opened) -> Page:
    return opened[0]


@pytest.fixture
def complaints(opened: Opened) -> Complaints:
    return opened[1]


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def model(page: Page, name: str) -> Locator:
    return page.locator(f'[data-model="{name}"]')


def say(page: Page, words: str, to: str = "demo-chat") -> None:
    expect(model(page, to)).to_be_visible()
    page.locator("#chat-model").select_option(to)
    page.get_by_label("Message").fill(words)
    page.get_by_role("button", name="Send").click()


def answer(page: Page) -> Locator:
    return page.locator(".message.assistant .content").last


class TestSigningIn:
    def test_a_browser_that_asks_for_the_proxy_gets_the_console(
        self, page: Page, proxy: RunningProxy
    ) -> None:
        page.goto("/")
        expect(page).to_have_url(f"{proxy.url}/console")
        expect(page.get_by_label("API key")).to_be_focused()

    def test_a_wrong_key_is_told_and_not_kept(
        self, page: Page, proxy: RunningProxy, complaints: Complaints
    ) -> None:
        sign_in(page, str(uuid.uuid4()))
        expect(page.get_by_role("alert")).to_have_text("This key is not accepted.")
        complaints.forget_status(401)
        assert page.evaluate("sessionStorage.length") == 0
        sign_in(page, "ключ")
        expect(page.get_by_role("alert")).to_have_text("This is no API key.")
        sign_in(page, proxy.key)
        expect(page.locator("#key-name")).to_have_text("default")

    def test_the_key_is_kept_in_the_tab_alone(self, page: Page, proxy: RunningProxy) -> None:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        sign_in(page, proxy.key)
        expect(model(page, "demo-chat")).to_be_visible()
        assert page.evaluate("Object.values(sessionStorage)") == [proxy.key]
        assert page.evaluate("localStorage.length") == 0
        assert page.context.cookies() == []
        assert not [url for url in asked if proxy.key in url]
        assert proxy.key not in page.content()
        page.reload()
        expect(page.locator("#key-name")).to_have_text("default")
        another = page.context.new_page()
        another.goto("/console")
        expect(another.get_by_label("API key")).to_be_visible()

    def test_signing_out_leaves_nothing_behind(self, page: Page, proxy: RunningProxy) -> None:
        sign_in(page, proxy.key)
        say(page, "A secret")
        expect(page.locator(".facts")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_focused()
        assert "A secret" not in page.content()

    def test_signing_out_forgets_it(self, page: Page, proxy: RunningProxy) -> None:
        sign_in(page, proxy.key)
        say(page, "Hello")
        expect(page.locator(".facts")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_focused()
        assert page.evaluate("sessionStorage.length") == 0
        sign_in(page, proxy.key)
        expect(page.locator(".message")).to_have_count(0)

    def test_a_key_that_is_revoked_signs_out(
        self, page: Page, proxy: RunningProxy, complaints: Complaints, keys: dict[str, str]
    ) -> None:
        sign_in(page, keys["leaving"])
        expect(model(page, "demo-chat")).to_be_visible()
        write_keys(proxy.directory, {name: key for name, key in keys.items() if name != "leaving"})
        proxy.process.send_signal(signal.SIGHUP)
        expect(page.get_by_role("alert")).to_have_text(
            "The key is not accepted any more.", timeout=15_000
        )
        complaints.forget_status(401)
        assert page.evaluate("sessionStorage.length") == 0


class TestModels:
    def test_each_is_there_with_its_state_in_words(self, page: Page, proxy: RunningProxy) -> None:
        sign_in(page, proxy.key)
        expect(model(page, "demo-chat")).to_contain_text("In service")
        expect(model(page, "broken")).to_contain_text("Failed")
        expect(model(page, "coming")).to_contain_text("Starting")
        expect(model(page, "sleeper/model")).to_contain_text("component")
        expect(page.locator("#models-count")).to_have_text("8 of 10 in service")

    def test_one_that_is_chosen_is_used_in_the_playground(
        self, page: Page, proxy: RunningProxy
    ) -> None:
        sign_in(page, proxy.key)
        model(page, "slow-chat").click()
        expect(page.locator("#chat-model")).to_have_value("slow-chat")
        expect(model(page, "slow-chat")).to_have_attribute("aria-pressed", "true")

    def test_until_they_are_listed_the_page_says_that_it_loads(
        self, page: Page, proxy: RunningProxy
    ) -> None:
        page.route("**/v1/models", lambda route: None)  # an answer that does not come
        sign_in(page, proxy.key)
        expect(page.locator("#models")).to_contain_text("Loading")
        expect(page.locator("#send")).to_be_disabled()

    def test_a_failure_is_told_and_can_be_tried_again(
        self, page: Page, proxy: RunningProxy, complaints: Complaints
    ) -> None:
        page.route("**/v1/models", lambda route: route.abort())
        sign_in(page, proxy.key)
        expect(page.locator("#models")).to_contain_text("The proxy does not answer")
        page.unroute("**/v1/models")
        page.locator("#models").get_by_role("button", name="Try again").click()
        expect(model(page, "demo-chat")).to_be_visible()
        complaints.seen.remove("Failed to load resource: net::ERR_FAILED")

    def test_a_key_for_none_is_told_so(self, page: Page, keys: dict[str, str]) -> None:
        sign_in(page, keys["nothing"])
        expect(page.locator("#models")).to_contain_text("This key may call no model yet")
        expect(page.locator("#send")).to_be_disabled()


class TestChat:
    def test_an_answer_streams_in_and_is_timed(self, page: Page, proxy: RunningProxy) -> None:
        sign_in(page, proxy.key)
        say(page, "Tell me a joke about clouds.", "slow-chat")
        expect(answer(page)).to_have_text(re.compile("."))
        before = answer(page).inner_text()
        expect(page.locator("#chat-status")).to_have_text(
            re.compile(r"^First token \d+\.\d\d s · \S+ tokens/s · \d+\.\d s$")
        )
        expect(page.locator(".facts")).to_have_text(
            re.compile(
                r"^First token \d+\.\d\d s · \d+\.\d tokens/s · \d+ tokens in, \d+ out · \d+\.\d s$"
            ),
            timeout=20_000,
        )
        after = answer(page).inner_text()
        assert after.startswith(before[:-1])
        assert len(after) > len(before)

    def test_a_long_answer_takes_no_longer_to_show_than_to_come(
        self, page: Page, proxy: RunningProxy
    ) -> None:
        pieces = [{"choices": [{"delta": {"content": f"word{n} "}}]} for n in range(4000)]
        events = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces)
        headers = {"Content-Type": "text/event-stream"}
        page.route(
            "**/v1/chat/completions",
            lambda route: route.fulfill(headers=headers, body=f"{events}data: [DONE]\n\n"),
        )
        sign_in(page, proxy.key)
        say(page, "Tell me a very long story.")
        expect(page.locator(".facts")).to_be_visible()
        expect(answer(page)).to_contain_text("word3999")

    def test_it_goes_on_where_it_was(self, page: Page, proxy: RunningProxy) -> None:
        sign_in(page, proxy.key)
        say(page, "My name is Ada.")
        expect(page.locator(".facts")).to_have_count(1)
        with page.expect_request("**/v1/chat/completions") as asked:
            say(page, "What is it?")
        sent = asked.value.post_data_json
        assert sent is not None
        assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
        page.get_by_role("button", name="New chat").click()
        expect(page.locator(".message")).to_have_count(0)

    def test_it_can_be_stopped(self, page: Page, proxy: RunningProxy, deployed: Emulator) -> None:
        sign_in(page, proxy.key)
        say(page, "Tell me a very long story.", "slow-chat")
        expect(answer(page)).to_have_text(re.compile("."))
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".facts")).to_contain_text("Stopped.")
        expect(page.get_by_role("button", name="Send")).to_be_visible()
        deployed.wait_for_disconnect("slow-chat", 10)

    def test_settings_are_sent(self, page: Page, proxy: RunningProxy) -> None:
        sign_in(page, proxy.key)
        page.get_by_text("System prompt").first.click()
        page.get_by_role("textbox", name="System prompt").fill("Be brief.")
        page.get_by_label("Temperature").fill("0.5")
        page.get_by_label("Max tokens").fill("3")
        with page.expect_request("**/v1/chat/completions") as asked:
            say(page, "Tell me a story.")
        sent = asked.value.post_data_json
        assert sent is not None
        assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
        assert (sent["temperature"], sent["max_tokens"]) == (0.5, 3)
        expect(page.locator(".facts")).to_contain_text("It has reached its most tokens.")

    def test_markup_in_an_answer_is_text(self, page: Page, proxy: RunningProxy) -> None:
        sign_in(page, proxy.key)
        markup = "<img src=x onerror=alert(1)><b>bold</b>"
        say(page, markup)
        expect(page.locator(".facts")).to_be_visible()
        expect(answer(page)).to_contain_text(markup)
        assert page.locator(".message img, .message b").count() == 0

    def test_a_refusal_is_told_and_can_be_tried_again(
        self, page: Page, keys: dict[str, str], complaints: Complaints
    ) -> None:
        sign_in(page, keys["once"])
        expect(page.locator("#key-limits")).to_have_text(" · 1 requests/min · 2 at once")
        say(page, "Once")
        expect(page.locator(".facts")).to_be_visible()
        say(page, "Twice")
        refusal = page.locator(".message .error")
        expect(refusal).to_contain_text("The key 'once' has used its 1 requests a minute")
        refusal.get_by_role("button", name="Try again").click()
        expect(refusal).to_have_count(1)
        expect(refusal).to_contain_text("Request ")
        complaints.forget_status(429)

    def test_a_container_that_refuses_its_own_key_signs_nobody_out(
        self, page: Page, proxy: RunningProxy, complaints: Complaints
    ) -> None:
        refusal = {"error": {"message": "who are you?", "code": None}}
        page.route("**/v1/chat/completions", lambda route: route.fulfill(status=401, json=refusal))
        sign_in(page, proxy.key)
        say(page, "Hello")
        expect(page.locator(".message .error")).to_contain_text("Who are you?")
        expect(model(page, "demo-chat")).to_be_visible()
        complaints.forget_status(401)

    def test_events_are_whole_wherever_they_are_cut(self, page: Page) -> None:
        seen = page.evaluate("""async () => {
          const { events } = await import("/console/api.js");
          const bytes = new TextEncoder().encode(
            ": waking\\r\\n\\r\\ndata: é1\\ndata: 2\\n\\ndata:" + "x".repeat(30) +
            "\\r\\n\\ndata: [DONE]\\n\\n"
          );
          const read = async (size) => {
            const body = new ReadableStream({ start(into) {
              for (let at = 0; at < bytes.length; at += size) {
                into.enqueue(bytes.slice(at, at + size));
              }
              into.close();
            } });
            return JSON.stringify(await Array.fromAsync(events({ body })));
          };
          return [...new Set(await Promise.all([1, 2, 3, 5, 7, 11, 1000].map(read)))];
        }""")
        assert [json.loads(each) for each in seen] == [
            [{"comment": "waking"}, *({"data": data} for data in ("é1\n2", "x" * 30, "[DONE]"))]
        ]

    def test_a_stream_that_breaks_keeps_what_came_and_says_so(
        self, page: Page, proxy: RunningProxy, deployed: Emulator
    ) -> None:
        deployed.set_fault("slow-chat", "stream_model_error", after=40, error_code="StreamBroken")
        sign_in(page, proxy.key)
        say(page, "Hello", "slow-chat")
        expect(page.locator(".message .error")).to_be_visible()
        expect(answer(page)).to_have_text(re.compile("."))

    def test_a_model_that_is_being_woken_is_shown_so(
        self, page: Page, proxy: RunningProxy, deployed: Emulator
    ) -> None:
        deployed.set_fault("sleeper", "no_capacity", times=None)
        sign_in(page, proxy.key)
        say(page, "Hello", "sleeper/model")
        expect(page.locator("#chat-status")).to_contain_text(
            "sleeper/model is asleep and is being woken", timeout=15_000
        )
        expect(model(page, "sleeper/model")).to_contain_text("Waking")
        deployed.clear_faults()
        expect(page.locator(".facts")).to_be_visible(timeout=15_000)
        expect(model(page, "sleeper/model")).to_contain_text("In service", timeout=10_000)

    @pytest.mark.parametrize("language", ["curl", "Python", "Responses", "Anthropic"])
    def test_the_same_as_code_runs_as_it_stands(
        self, page: Page, proxy: RunningProxy, language: str
    ) -> None:
        sign_in(page, proxy.key)
        say(page, "It's “quoted” \\ and $HOME\nin two lines")
        expect(page.locator(".facts")).to_be_visible()
        answered = answer(page).inner_text()
        page.get_by_role("button", name="New chat").click()
        page.get_by_label("Message").fill("It's “quoted” \\ and $HOME\nin two lines")
        page.get_by_label("Temperature").fill("0.5")
        page.get_by_text("System prompt").first.click()
        page.get_by_role("textbox", name="System prompt").fill("Be exact.")
        page.get_by_text("The same with curl and Python").first.click()
        copy = page.locator("#chat-examples > div", has_text=language).get_by_role("button")
        copy.click()
        expect(copy).to_have_text("Copied")
        code = page.evaluate("navigator.clipboard.readText()")
        assert proxy.key not in code
        assert run(code, language, proxy).replace("\n", "") == answered.replace("\n", "")


def run(code: str, language: str, proxy: RunningProxy, within: Path | None = None) -> str:
    """What a program prints; of curl's, the pieces of the chat that it streams."""
    environment = {
        "PATH": os.environ["PATH"],
        "API_KEY": proxy.key,
        "CURL_CA_BUNDLE": str(proxy.certificate),
        "SSL_CERT_FILE": str(proxy.certificate),
        "REQUESTS_CA_BUNDLE": str(proxy.certificate),
    }
    command = ["bash", "-c", code] if language == "curl" else [sys.executable, "-c", code]
    output = subprocess.run(
        command, env=environment, cwd=within, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    if not output.startswith("data:"):
        return output
    pieces = re.findall(r'"content": ?("(?:[^"\\]|\\.)*")', output)
    return "".join(map(json.loads, pieces))


class TestRaw:
    def test_csv_goes_in_and_comes_out(self, page: Page, proxy: RunningProxy) -> None:
        sign_in(page, proxy.key)
        page.get_by_role("tab", name="Raw").click()
        page.get_by_label("Endpoint").select_option("demo-regression")
        page.get_by_label("Body").fill("54.5,2,35,12")
        page.get_by_role("tabpanel").get_by_role("button", name="Send").click()
        expect(page.locator(".verdict")).to_have_text(re.compile(r"^200 OK · \d+ ms · \d bytes$"))
        expect(page.get_by_label("Answer")).to_have_text("769.0")

    def test_an_endpoints_own_error_is_shown_as_it_is(
        self, page: Page, proxy: RunningProxy, complaints: Complaints
    ) -> None:
        sign_in(page, proxy.key)
        page.get_by_role("tab", name="Raw").click()
        page.get_by_label("Endpoint").select_option("demo-regression")
        page.get_by_label("Content-Type").fill("application/json")
        page.get_by_label("Body").fill("{}")
        page.get_by_role("tabpanel").get_by_role("button", name="Send").click()
        expect(page.locator(".verdict")).to_contain_text("424 ModelError")
        expect(page.get_by_label("Answer")).to_contain_text('"OriginalStatusCode": 415')
        complaints.forget_status(424)

    def test_numbers_keep_their_digits(self, page: Page, proxy: RunningProxy) -> None:
        sign_in(page, proxy.key)
        page.get_by_role("tab", name="Raw").click()
        page.get_by_label("Endpoint").select_option("demo-echo")
        page.get_by_label("Content-Type").fill("application/json")
        page.get_by_label("Body").fill('{"id":12345678901234567890,"is":[1.0,1e400]}')
        page.get_by_role("tabpanel").get_by_role("button", name="Send").click()
        expect(page.get_by_label("Answer")).to_have_text(
            '{ "id": 12345678901234567890, "is": [ 1.0, 1e400 ] }'
        )

    def test_a_header_that_cannot_be_sent_is_told(self, page: Page, proxy: RunningProxy) -> None:
        sign_in(page, proxy.key)
        page.get_by_role("tab", name="Raw").click()
        expect(model(page, "demo-chat")).to_be_visible()
        page.get_by_label("Accept").fill("текст")
        page.get_by_role("tabpanel").get_by_role("button", name="Send").click()
        expect(page.locator("#raw-answer")).to_contain_text("A header can hold nothing but ASCII")

    def test_an_image_comes_back_as_one(
        self, page: Page, proxy: RunningProxy, tmp_path: Path
    ) -> None:
        (tmp_path / "dot.png").write_bytes(PNG)
        sign_in(page, proxy.key)
        page.get_by_role("tab", name="Raw").click()
        page.get_by_label("Endpoint").select_option("demo-echo")
        page.get_by_label("Content-Type").fill("image/png")
        page.get_by_label("or a file").set_input_files(tmp_path / "dot.png")
        page.get_by_role("tabpanel").get_by_role("button", name="Send").click()
        image = page.get_by_alt_text("The model's answer")
        expect(image).to_be_visible()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1

    @pytest.mark.parametrize("language", ["curl", "Python"])
    def test_the_same_as_code_runs_as_it_stands(
        self, page: Page, proxy: RunningProxy, language: str
    ) -> None:
        sign_in(page, proxy.key)
        page.get_by_role("tab", name="Raw").click()
        page.get_by_label("Endpoint").select_option("demo-echo")
        page.get_by_label("Body").fill("@it's,1\n“two”,2")
        page.locator("#raw").get_by_text("The same with curl and Python").click()
        code = page.get_by_label(f"{language} example").locator("visible=true").inner_text()
        assert run(code, language, proxy).strip() == "@it's,1\n“two”,2"

    def test_a_transcription_as_code_runs_as_it_stands(
        self, page: Page, proxy: RunningProxy, tmp_path: Path
    ) -> None:
        (tmp_path / "speech.mp3").write_bytes(PNG)
        sign_in(page, proxy.key)
        page.get_by_role("tab", name="Raw").click()
        page.get_by_label("Endpoint").select_option("whisper")
        page.get_by_label("Content-Type").fill("audio/mpeg")
        page.get_by_label("or a file").set_input_files(tmp_path / "speech.mp3")
        page.locator("#raw").get_by_text("The same with curl and Python").click()
        code = page.get_by_label("Transcription example").inner_text()
        assert run(code, "Python", proxy, tmp_path).strip() == huggingface.transcript(PNG)

    def test_a_ranking_as_code_runs_as_it_stands(self, page: Page, proxy: RunningProxy) -> None:
        sign_in(page, proxy.key)
        page.get_by_role("tab", name="Raw").click()
        page.get_by_label("Endpoint").select_option("ranker")
        page.get_by_label("Content-Type").fill("application/json")
        asked = {"query": "What's new?", "texts": ["that's new", "a cow"]}
        page.get_by_label("Body").fill(json.dumps(asked))
        page.locator("#raw").get_by_text("The same with curl and Python").click()
        code = page.get_by_label("Rerank example").inner_text()
        results = json.loads(run(code, "curl", proxy))["results"]
        assert [each["index"] for each in results] == [0, 1]

    def test_where_there_is_no_other_route_none_is_shown(
        self, page: Page, proxy: RunningProxy
    ) -> None:
        sign_in(page, proxy.key)
        page.get_by_role("tab", name="Raw").click()
        page.get_by_label("Endpoint").select_option("demo-regression")
        page.locator("#raw").get_by_text("The same with curl and Python").click()
        expect(page.locator("#raw-examples h3")).to_have_text(["curl", "Python"])


class TestLive:
    def test_the_charts_move_with_what_the_key_does(self, page: Page, keys: dict[str, str]) -> None:
        sign_in(page, keys["watched"])
        expect(page.locator("#by-model")).to_contain_text("No request with this key yet")
        expect(page.locator("#charts path")).to_have_count(0)
        say(page, "Hello")
        expect(page.locator(".facts")).to_be_visible()
        row = page.get_by_role("row").filter(has_text="demo-chat")
        expect(row).to_be_visible(timeout=10_000)
        for title in ("Requests/s", "First token", "Tokens/s"):
            chart = page.get_by_role("img", name=f"{title}, now: demo-chat")
            expect(chart).to_have_attribute("aria-label", re.compile(r"demo-chat [\d<]"))
            path = chart.locator("path")
            expect(path).to_have_attribute("d", re.compile("^M"))
            # A line that is at rest is at 78 of the 80 that it has.
            heights = [float(y) for y in re.findall(r" (\d+\.\d)", path.get_attribute("d") or "")]
            assert min(heights) < 70, title
        expect(row.get_by_role("cell")).to_have_text(
            [
                re.compile(r"^[\d<]"),
                re.compile(r"^\d+ ms$"),
                re.compile(r"^\d"),
                "0",
                "1",
                "0",
                re.compile(r"^\d"),
            ]
        )

    def test_a_point_in_time_tells_its_values(self, page: Page, proxy: RunningProxy) -> None:
        sign_in(page, proxy.key)
        say(page, "Hello")
        expect(page.locator(".facts")).to_be_visible()
        chart = page.get_by_role("img", name="Requests/s, now: demo-chat")
        expect(chart).to_be_visible(timeout=10_000)
        box = chart.bounding_box()
        assert box
        chart.hover(position={"x": box["width"] - 1, "y": 20})
        expect(page.locator(".readout").first).to_contain_text(re.compile("^(now|2 s ago): "))
        page.mouse.move(0, 0)
        expect(page.locator(".readout").first).to_have_text("last 5 minutes")

    def test_what_has_not_changed_stays_where_it_is(
        self, open_page: Callable[..., Opened], proxy: RunningProxy
    ) -> None:
        page, _ = open_page("phone")
        sign_in(page, proxy.key)
        say(page, "Hello")
        table = page.locator("#by-model .scrolls")
        expect(table).to_be_visible(timeout=10_000)
        expect(page.get_by_role("row").filter(has_text="demo-chat")).to_be_visible()
        page.wait_for_timeout(4500)  # the model has got its colour
        table.evaluate("table => { table.scrollLeft = 40; table.focus(); }")
        button = model(page, "demo-chat").element_handle()
        assert button
        page.wait_for_timeout(4500)  # two more answers
        assert table.evaluate("table => table.scrollLeft") == 40
        expect(table).to_be_focused()
        assert button.evaluate("button => button.isConnected")

    def test_where_nothing_was_asked_nothing_is_drawn(self, page: Page) -> None:
        rates = page.evaluate("""async () => {
          const { History } = await import("/console/rates.js");
          const history = new History();
          const row = (requests) => ({ model: "one", requests, client_errors: 0, server_errors: 0,
            streams: 0, first_token_seconds: 0, prompt_tokens: 0, completion_tokens: 0 });
          const rates = () => history.series("one", (counts) => counts.requests / counts.seconds);
          const add = (time, requests) => history.add({ time, models: [row(requests)] });
          add(0, 0); add(2, 2); add(22, 100); add(24, 104);
          const gap = rates();
          add(23, 106); add(25, 108);
          const clockSetBack = rates();
          add(100_000, 1_000_000); add(100_002, 1_000_000);
          return { gap, clockSetBack, hours: rates() };
        }""")
        assert rates["gap"] == [1, *[None] * 10, 2]
        assert rates["clockSetBack"] == [1]
        assert set(rates["hours"][:-1]) == {None}
        assert (len(rates["hours"]), rates["hours"][-1]) == (154, 0)

    def test_a_proxy_that_is_away_is_told_and_found_again(
        self, page: Page, proxy: RunningProxy, complaints: Complaints
    ) -> None:
        sign_in(page, proxy.key)
        expect(page.locator("#live-note")).to_contain_text("this key")
        page.context.set_offline(True)
        expect(page.locator("#live-note")).to_contain_text("Not up to date", timeout=10_000)
        page.context.set_offline(False)
        expect(page.locator("#live-note")).to_contain_text("this key", timeout=10_000)
        offline = "Failed to load resource: net::ERR_INTERNET_DISCONNECTED"
        assert offline in complaints.seen
        complaints.seen = [text for text in complaints.seen if text != offline]


class TestForEverybody:
    def test_the_keyboard_is_enough(self, page: Page, proxy: RunningProxy) -> None:
        expect(page.get_by_label("API key")).to_be_focused()
        page.keyboard.type(proxy.key)
        page.keyboard.press("Enter")
        expect(model(page, "slow-chat")).to_be_visible()
        press_until_focused(page, "Tab", model(page, "slow-chat"))
        page.keyboard.press("Enter")
        expect(page.get_by_label("Message")).to_be_focused()
        page.keyboard.type("Tell me a very long story.")
        page.keyboard.press("Enter")
        expect(answer(page)).to_have_text(re.compile("."))
        page.keyboard.press("Escape")
        expect(page.locator(".facts")).to_contain_text("Stopped.")
        press_until_focused(page, "Shift+Tab", page.get_by_role("tab", name="Chat"))
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name="Raw")).to_be_focused()
        expect(page.get_by_label("Body")).to_be_visible()

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_axe_finds_no_serious_fault_and_nothing_is_cut_off(
        self,
        open_page: Callable[..., Opened],
        proxy: RunningProxy,
        size: str,
        scheme: Literal["light", "dark"],
    ) -> None:
        page, complaints = open_page(size, scheme)
        sign_in(page, str(uuid.uuid4()))
        expect(page.get_by_role("alert")).not_to_be_empty()
        complaints.forget_status(401)
        check(page)
        sign_in(page, proxy.key)
        say(page, "Hello")
        expect(page.locator(".facts")).to_be_visible()
        expect(page.get_by_role("row").filter(has_text="demo-chat")).to_be_visible(timeout=10_000)
        for summary in page.locator("#chat summary").all():
            summary.click()
        check(page)
        page.get_by_role("tab", name="Raw").click()
        page.get_by_label("Endpoint").select_option("demo-regression")
        page.get_by_label("Body").fill("no,numbers")
        page.get_by_role("tabpanel").get_by_role("button", name="Send").click()
        expect(page.locator(".verdict")).to_be_visible()
        complaints.forget_status(424)
        check(page)


def press_until_focused(page: Page, key: str, wanted: Locator) -> None:
    for _ in range(40):
        page.keyboard.press(key)
        if wanted.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"{wanted} is not to be reached with {key}")


def check(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    told = [
        (each["id"], each["impact"], [node["html"] for node in each["nodes"]]) for each in found
    ]
    assert [fault for fault in told if fault[1] in SERIOUS] == []
    width = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    scrolled, visible = page.evaluate(width)
    assert scrolled <= visible
