"""The demo is started as a user starts it, and what it prints is pasted into a shell."""

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
import requests
from aiohttp import web

from proxy import certificates
from tests.demo import language_model
from tests.demo.language_model import LanguageModel
from tests.demo.processes import ROOT, Failed, Processes
from tests.emulator import loopback
from tests.emulator.background import BackgroundLoop

COMMAND = [sys.executable, "-m", "tests.demo"]
LAST_LINE = "Ctrl-C ends it.\n"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class RunningDemo:
    """The demo in a process group of its own, once it has printed everything."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*COMMAND, "--port", "0", "--folder", str(folder), *options],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line == LAST_LINE:
                return
        _, errors = self.process.communicate()
        raise AssertionError(f"the demo ended by itself: {errors}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGTERM)

    def fact(self, name: str) -> str:
        """What is printed beside a name."""
        found = re.search(rf"^  {name} +(.+)$", "".join(self.lines), re.MULTILINE)
        assert found is not None, f"no {name} in {self.lines}"
        return found[1]

    def line(self, *words: str) -> str:
        """The one line to paste that has all these words."""
        found = [
            line
            for line in self.lines
            if re.match(r"curl |[A-Z_]+=", line) and all(word in line for word in words)
        ]
        assert len(found) == 1, f"{words} are in {found}"
        return found[0]

    @property
    def port(self) -> int:
        """Where the proxy listens."""
        return int(self.fact("URL").removesuffix("/v1").rpartition(":")[2])

    def end(self, number: signal.Signals, timeout: float = 20.0) -> tuple[int, str, str]:
        """End it as a terminal does, sooner than a proxy's drain; status, and what it printed."""
        os.killpg(self.process.pid, number)
        printed, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, printed, errors


def paste(line: str) -> tuple[str, int]:
    """Run a line in a shell; what it prints, and in how many pieces that came."""
    command = ["bash", "-c", line]
    pieces = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, bufsize=0) as shell:
        assert shell.stdout is not None
        while piece := shell.stdout.read(65536):
            pieces.append(piece)
    assert shell.returncode == 0, line
    return b"".join(pieces).decode(), len(pieces)


def run_demo(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a demo that ends by itself."""
    return subprocess.run(
        [*COMMAND, *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def descendants(pid: int) -> dict[int, str]:
    """The processes that a process has started, and those that they have, with their commands."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found: dict[int, str] = {}
    ancestors = {pid}
    while ancestors:
        ancestors = {child for child, parent in parents.items() if parent in ancestors}
        for child in ancestors:
            found[child] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
    return found


def assert_gone(processes: dict[int, str]) -> None:
    left = [command for pid, command in processes.items() if Path(f"/proc/{pid}").exists()]
    assert not left


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    # With settings of the user's own that would lead the proxy astray if they reached it.
    stray = {"AWS_SESSION_TOKEN": "stray", "AWS_PROFILE": "no-such-profile", "API_KEY": ""}
    with RunningDemo(tmp_path_factory.mktemp("demo's state"), **stray) as demo:
        yield demo


class TestWhatItPrints:
    def test_the_facts(self, demo: RunningDemo) -> None:
        assert uuid.UUID(demo.fact("API key")).version == 4
        assert demo.fact("models") == "demo-chat, demo-echo, demo-regression"
        assert Path(demo.fact("log")).read_text().count('"message": "serving"') == 1
        certificate = demo.fact("certificate").partition("  (")[0]
        assert ssl.PEM_cert_to_DER_cert(Path(certificate).read_text())

    def test_the_consoles_address(self, demo: RunningDemo) -> None:
        address = demo.fact("console").partition("  (")[0]
        certificate = demo.fact("certificate").partition("  (")[0]
        page = requests.get(address, headers={"Accept": "text/html"}, verify=certificate)
        assert page.url == f"{address}console"
        assert "Sign in with an API key" in page.text

    def test_no_colours_in_a_pipe(self, demo: RunningDemo) -> None:
        assert "\033" not in "".join(demo.lines)

    @needs_curl
    def test_curl_streams(self, demo: RunningDemo) -> None:
        text, pieces = paste(demo.line("curl", "/v1/chat/completions"))
        assert text.count("data: {") > 5
        assert text.endswith("data: [DONE]\n\n")
        assert pieces > 5

    @needs_curl
    def test_curl_sends_csv(self, demo: RunningDemo) -> None:
        assert paste(demo.line("curl", "/invocations"))[0] == "769.0\n"

    def test_openai_streams(self, demo: RunningDemo) -> None:
        text, pieces = paste(demo.line("import openai"))
        assert "joke" in text
        assert pieces > 5

    def test_smoke_script(self, demo: RunningDemo) -> None:
        text, _ = paste(demo.line("invoke_endpoint.py"))
        assert text.startswith("endpoint: demo-chat\n")
        assert '"role": "assistant"' in text

    def test_a_second_one_on_the_same_port(self, demo: RunningDemo) -> None:
        second = run_demo("--port", str(demo.port))
        assert second.returncode == 1
        assert second.stdout == ""
        assert second.stderr == (
            f"demo: cannot listen on port {demo.port}: address already in use; "
            "choose another one with --port, or make demo PORT=…\n"
        )


class TestItsEnd:
    def test_by_ctrl_c_in_the_middle_of_a_stream(self, tmp_path: Path) -> None:
        with RunningDemo(tmp_path) as demo:
            port, children = demo.port, descendants(demo.process.pid)
            assert any("-m proxy serve" in command for command in children.values())
            client = ["bash", "-c", f"exec {demo.line('import openai').partition(' ')[2]}"]
            environment = {**os.environ, "SSL_CERT_FILE": str(tmp_path / "certificate.pem")}
            with subprocess.Popen(
                client,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            ) as shell:
                assert shell.stdout is not None
                assert shell.stdout.read(1)
                assert demo.end(signal.SIGINT) == (0, "\nStopped.\n", "")
        assert_gone(children)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("localhost", port)).close()

    def test_when_the_proxy_dies(self, tmp_path: Path) -> None:
        # On the way: the certificate of an earlier start is used again.
        certificate = certificates.create(tmp_path, ["localhost"]).certificate.read_bytes()
        with RunningDemo(tmp_path) as demo:
            assert Path(demo.fact("certificate").partition("  (")[0]).read_bytes() == certificate
            for pid, command in descendants(demo.process.pid).items():
                if "-m proxy serve" in command:
                    os.kill(pid, signal.SIGKILL)
            _, errors = demo.process.communicate(timeout=10)
        assert demo.process.returncode == 1
        assert errors.startswith(f"demo: the proxy ended by SIGKILL. {demo.fact('log')} ends:\n")
        assert '"message": "serving"' in errors
        assert "Traceback" not in errors

    def test_when_the_proxy_does_not_start(self, tmp_path: Path) -> None:
        ended = run_demo("--port", "0", "--folder", str(tmp_path), API_KEY="sesame")
        assert ended.returncode == 1
        assert "demo: the proxy ended with status 1." in ended.stderr
        assert "the API key is not a UUID4" in ended.stderr
        assert "Traceback" not in ended.stderr


class TestModelOfOnesOwn:
    @pytest.fixture
    def url(self) -> Iterator[str]:
        async def models(request: web.Request) -> web.Response:
            return web.json_response({"data": [{"id": "tiny"}]})

        async def chat(request: web.Request) -> web.StreamResponse:
            assert (await request.json())["model"] == "tiny"
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for word in ("I ", "am ", "tiny."):
                delta = f'{{"choices": [{{"index": 0, "delta": {{"content": "{word}"}}}}]}}'
                await response.write(f"data: {delta}\n\n".encode())
            await response.write(b"data: [DONE]\n\n")
            return response

        app = web.Application()
        app.add_routes([web.get("/v1/models", models), web.post("/v1/chat/completions", chat)])
        loop = BackgroundLoop("model")
        loop.start()
        runner, url = loop.submit(loopback.serve(app)).result()
        yield url
        loop.submit(runner.cleanup()).result()
        loop.stop()

    def test_it_goes_first(self, tmp_path: Path, url: str) -> None:
        key = str(uuid.uuid4())
        with RunningDemo(tmp_path, "--model-url", url, API_KEY=key) as demo:
            assert demo.lines[0] == f"my-model is tiny at {url}.\n"
            assert demo.fact("API key") == key
            assert demo.fact("models").startswith("my-model, demo-chat,")
            assert paste(demo.line("import openai"))[0] == "I am tiny.\n"
            text, _ = paste(demo.line("invoke_endpoint_openai.py"))
            assert text == "endpoint: my-model\nI am tiny.\n"
            children = descendants(demo.process.pid)
            assert demo.end(signal.SIGTERM) == (0, "\nStopped.\n", "")
        assert_gone(children)

    def test_nobody_answers(self) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
            ended = run_demo("--port", "0", "--model-url", url)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith(
            f"demo: --model-url {url}: nothing answers at {url}/v1/models"
        )
        assert ended.stderr.count("\n") == 1

    def test_no_model_there(self, url: str) -> None:
        ended = run_demo("--port", "0", "--model-url", f"{url}/elsewhere")
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.endswith("/elsewhere/v1/models answers 404 Not Found\n")


class TestLanguageModel:
    @pytest.mark.skipif(
        not LanguageModel().is_installed(), reason=".venv-llm is not there: make demo-llm"
    )
    def test_it_answers(self, tmp_path: Path) -> None:
        with RunningDemo(tmp_path, "--llm") as demo:
            assert demo.fact("models").startswith("smollm2, ")
            children = descendants(demo.process.pid)
            assert any("llama_cpp.server" in command for command in children.values())
            text, pieces = paste(demo.line("import openai"))
            assert text.strip()
            assert pieces > 5
            assert demo.end(signal.SIGINT) == (0, "\nStopped.\n", "")
        assert_gone(children)

    def test_no_compiler(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("CC", "CXX"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(Failed, match="no C compiler found") as caught:
            language_model.check_compilers()
        assert "\n" not in str(caught.value)

    def test_an_installation_that_fails(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        model = LanguageModel(venv=tmp_path / "file" / "venv")
        stages = []
        with Processes() as processes, pytest.raises(Failed) as caught:
            model.install(processes, tmp_path, lambda stage, seconds: stages.append(stage))
        assert str(caught.value).startswith("the installation ended with status 1. ")
        assert "Not a directory" in str(caught.value)
        assert stages[0] == "preparing"
        assert not model.is_installed()
