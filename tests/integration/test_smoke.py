"""The smoke scripts are run as a user runs them, against a proxy that does well and badly."""

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from proxy import certificates
from tests.emulator.emulator import Emulator
from tests.integration.running import RunningProxy

FOLDER = Path(__file__).parents[1] / "smoke"
PLAIN = "invoke_endpoint.py"
OPENAI = "invoke_endpoint_openai.py"

# What the scripts share is tested with the quicker one of them alone.
both = pytest.mark.parametrize("script", [PLAIN, OPENAI])

Result = subprocess.CompletedProcess[str]


class Caller:
    """Runs a script against a proxy, with its key unless told another."""

    def __init__(self, proxy: RunningProxy) -> None:
        self.proxy = proxy

    def __call__(
        self,
        script: str,
        *options: str,
        host: str = "localhost",
        port: int | None = None,
        stdin: str = "",
        **environment: str,
    ) -> Result:
        address = [host, str(port or self.proxy.port)]
        return subprocess.run(
            [sys.executable, FOLDER / script, *address, *options],
            env={**os.environ, "API_KEY": self.proxy.key, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def verified(self, script: str, *options: str, stdin: str = "") -> Result:
        """Call with the proxy's own certificate as the CA."""
        return self(script, "--ca", str(self.proxy.certificate), *options, stdin=stdin)


@pytest.fixture
def call(proxy: RunningProxy) -> Caller:
    return Caller(proxy)


def assert_failed(result: Result, script: str, *words: str) -> None:
    """It said in one line why it failed."""
    assert result.returncode == 1
    assert result.stderr.startswith(f"{script}: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


class TestAnswers:
    def test_plain(self, call: Caller) -> None:
        result = call.verified(PLAIN)
        assert (result.returncode, result.stderr) == (0, "")
        endpoint, _, answer = result.stdout.partition("\n")
        assert endpoint == "endpoint: demo-chat"
        assert "I am the demo model" in json.loads(answer)["choices"][0]["message"]["content"]

    def test_openai(self, call: Caller) -> None:
        result = call.verified(OPENAI)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith("endpoint: demo-chat\n“Who are you? ")

    def test_openai_streams(self, call: Caller) -> None:
        arguments = ["localhost", str(call.proxy.port), "--ca", str(call.proxy.certificate)]
        pieces = []
        with subprocess.Popen(
            [sys.executable, FOLDER / OPENAI, *arguments, "--model", "slow-chat", "--stream"],
            env={**os.environ, "API_KEY": call.proxy.key},
            stdout=subprocess.PIPE,
            bufsize=0,
        ) as process:
            assert process.stdout is not None
            while piece := process.stdout.read(65536):
                pieces.append(piece)
        assert process.returncode == 0
        assert b"".join(pieces).decode().startswith("endpoint: slow-chat\n“Who are you? ")
        assert len(pieces) > 5

    def test_a_body_of_ones_own(self, call: Caller, tmp_path: Path) -> None:
        body = tmp_path / "body.json"
        body.write_text('{"inputs": "ü"}')
        result = call.verified(PLAIN, "--data", str(body), "--model", "demo-echo")
        endpoint, _, answer = result.stdout.partition("\n")
        assert endpoint == "endpoint: demo-echo"
        assert json.loads(answer) == {"inputs": "ü", "model": "demo-echo"}
        assert "ü" in answer

    def test_a_body_on_standard_input_with_a_model(self, call: Caller) -> None:
        body = '{"model": "demo-echo", "stream": false}'
        result = call.verified(PLAIN, "--data", "-", stdin=body)
        assert json.loads(result.stdout.partition("\n")[2]) == json.loads(body)

    def test_a_body_that_asks_for_a_stream(self, call: Caller) -> None:
        body = '{"stream": true, "messages": [{"role": "user", "content": "hello"}]}'
        result = call.verified(PLAIN, "--data", "-", stdin=body)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith('endpoint: demo-chat\ndata: {"id"')
        assert result.stdout.endswith("data: [DONE]\n\n")

    @both
    def test_help(self, call: Caller, script: str) -> None:
        shown = call(script, "--help").stdout
        assert "API_KEY" in shown
        assert "--ca FILE" in shown
        assert "--model NAME" in shown


class TestCertificate:
    @both
    def test_self_signed(self, call: Caller, script: str) -> None:
        result = call(script)
        assert result.returncode == 0
        assert result.stdout.startswith("endpoint: demo-chat\n")
        assert f"localhost:{call.proxy.port} was NOT verified" in result.stderr
        assert str(call.proxy.fingerprint) in result.stderr
        assert "add: --ca certificate.pem" in result.stderr
        assert "InsecureRequestWarning" not in result.stderr

    @both
    def test_verified_by_the_systems_cas(self, call: Caller, script: str) -> None:
        result = call(script, SSL_CERT_FILE=str(call.proxy.certificate))
        assert (result.returncode, result.stderr) == (0, "")

    @both
    def test_another_ca(self, call: Caller, script: str, tmp_path: Path) -> None:
        other = certificates.create(tmp_path, ["localhost"]).certificate
        # Even if the system would trust the server.
        result = call(script, "--ca", str(other), SSL_CERT_FILE=str(call.proxy.certificate))
        assert_failed(result, script, "does not verify with --ca", str(other))

    @both
    def test_another_name(self, call: Caller, script: str) -> None:
        result = call(script, "--ca", str(call.proxy.certificate), host="127.0.0.2")
        assert_failed(result, script, "does not verify with --ca", "127.0.0.2")

    def test_no_ca_there(self, call: Caller, tmp_path: Path) -> None:
        assert_failed(call(PLAIN, "--ca", str(tmp_path / "x")), PLAIN, "No such file")
        (tmp_path / "x").write_text("x")
        assert_failed(call(PLAIN, "--ca", str(tmp_path / "x")), PLAIN, "no certificate in PEM")


class TestFailures:
    def test_no_key(self, call: Caller) -> None:
        assert_failed(call(PLAIN, API_KEY=""), PLAIN, "API_KEY is not set")

    @both
    def test_wrong_key(self, call: Caller, script: str) -> None:
        result = call(script, "--ca", str(call.proxy.certificate), API_KEY=str(uuid.uuid4()))
        assert_failed(result, script, "refuses the key in API_KEY (401)")

    def test_nobody_there(self, call: Caller) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
            result = call(PLAIN, host="127.0.0.1", port=port)
        assert_failed(result, PLAIN, f"cannot connect to 127.0.0.1:{port}: Connection refused")

    def test_no_tls_there(self, call: Caller, emulator: Emulator) -> None:
        result = call(PLAIN, host="127.0.0.1", port=urlsplit(emulator.runtime_url).port)
        assert_failed(result, PLAIN, "does not speak TLS")

    @both
    def test_no_such_model(self, call: Caller, script: str) -> None:
        assert_failed(call.verified(script, "--model", "nope"), script, "404", "'nope'")

    @both
    def test_a_model_that_refuses(self, call: Caller, script: str) -> None:
        result = call.verified(script, "--model", "demo-regression")
        assert_failed(result, script, "415", "send text/csv")

    @both
    def test_no_answer_in_time(self, call: Caller, emulator: Emulator, script: str) -> None:
        emulator.set_fault("demo-chat", "slow_first_byte", seconds=30)
        result = call.verified(script, "--model", "demo-chat", "--timeout", "1")
        assert_failed(result, script, "no answer from localhost", "within 1 s")

    def test_a_stream_that_breaks_off(self, call: Caller, emulator: Emulator) -> None:
        emulator.set_fault("slow-chat", "stream_model_error", after=30)
        result = call.verified(OPENAI, "--stream", "--model", "slow-chat")
        assert_failed(result, OPENAI, "the answer broke off")
        assert result.stdout.startswith("endpoint: slow-chat\n“")

    @pytest.mark.parametrize("options", [[], ["--stream"]])
    def test_a_model_that_does_not_chat(self, call: Caller, options: list[str]) -> None:
        result = call.verified(OPENAI, "--model", "demo-echo", *options)
        assert_failed(result, OPENAI, "demo-echo", "no chat")

    @pytest.mark.parametrize(
        ("body", "words"), [("{", "is not JSON"), ("[]", "must be a JSON object")]
    )
    def test_a_body_that_is_none(self, call: Caller, body: str, words: str) -> None:
        assert_failed(call(PLAIN, "--data", "-", stdin=body), PLAIN, words)

    def test_no_file_with_a_body(self, call: Caller, tmp_path: Path) -> None:
        assert_failed(call(PLAIN, "--data", str(tmp_path / "x")), PLAIN, "No such file")


class TestNoEndpoint:
    @pytest.fixture(scope="class")
    @classmethod
    def proxy(
        cls, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[RunningProxy]:
        """A proxy in a region that has none."""
        environ = {**emulator.environment(), "REGION_NAME": "eu-west-1"}
        with RunningProxy(tmp_path_factory.mktemp("empty"), environ) as proxy:
            yield proxy

    @both
    def test_none_in_service(self, call: Caller, script: str) -> None:
        assert_failed(call.verified(script), script, "no endpoint is in service (0 listed)")
