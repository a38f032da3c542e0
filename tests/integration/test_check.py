"""`sagemaker-proxy check` finds what is wrong, in the words that the README has for it."""

import hashlib
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from proxy import certificates
from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.emulator.metadata import MetadataService
from tests.integration.conftest import QUICK
from tests.integration.running import ROOT, RunningProxy, clean_environment
from tests.integration.symptoms import SYMPTOMS

TEN_MINUTES = 600.0


@dataclass(frozen=True)
class Checked:
    """What a run of the command has printed, and its exit status."""

    status: int
    output: str

    def verdicts(self, check: str) -> list[str]:
        """The results of the check of this name."""
        return re.findall(rf"^{re.escape(check)}\s\s+(\w+)", self.output, re.MULTILINE)

    def tells(self, seen: str) -> bool:
        """Whether it says what the README shows for this symptom."""
        return SYMPTOMS[seen].is_told_by(self.output)


def start(
    directory: Path, environ: Mapping[str, str], config: str, *arguments: str
) -> subprocess.Popen[str]:
    directory.mkdir(exist_ok=True)
    path = directory / "config.toml"
    path.write_text(config)
    return subprocess.Popen(
        [sys.executable, "-m", "proxy", "check", "--config", str(path), *arguments],
        cwd=ROOT,
        env={**clean_environment(directory), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> Checked:
    output, complaints = process.communicate(timeout=100)
    assert complaints == ""
    return Checked(process.returncode, output)


def check(directory: Path, environ: Mapping[str, str], config: str, *arguments: str) -> Checked:
    return end(start(directory, environ, config, *arguments))


def settings(port: int, more: str = "") -> str:
    """Settings for a proxy on `port`; `more` are keys of the server, and tables after it."""
    return f"{QUICK}[server]\nport = {port}\n{more}"


@contextmanager
def clock_ahead(seconds: float) -> Iterator[str]:
    """The URL of an AWS whose clock is ahead of this machine's, and that says no more."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() + seconds)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port at which connections are refused, and that nobody else takes meanwhile."""
    with socket.socket() as unused:
        unused.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that it counts as free
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


@contextmanager
def silence() -> Iterator[str]:
    """The URL of a server that takes connections and never says a word, as a dead network."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def instance(emulator: Emulator) -> Iterator[dict[str, str]]:
    """The environment of an instance with a role."""
    with MetadataService(lifetime=timedelta(hours=1)) as metadata:

        def accept_issued() -> None:
            for access_key, secret, token in metadata.issued:
                emulator.credentials.add(access_key, secret, token)

        metadata.on_issue = accept_issued
        yield {
            **endpoints_of(emulator),
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
        }


def endpoints_of(emulator: Emulator) -> dict[str, str]:
    """Where AWS is, without credentials."""
    return {
        name: value
        for name, value in emulator.environment().items()
        if name.startswith("AWS_ENDPOINT")
    }


@pytest.fixture(scope="module")
def well(
    emulator: Emulator, proxy: RunningProxy, tmp_path_factory: pytest.TempPathFactory
) -> Checked:
    directory = tmp_path_factory.mktemp("well")
    state = {"STATE_DIRECTORY": str(proxy.directory), "API_KEY": proxy.key}
    with instance(emulator) as environ:
        config = settings(proxy.port)
        return check(directory, environ | state, config, "--invoke", "demo-echo")


class TestWell:
    def test_nothing_fails_and_the_status_is_0(self, well: Checked) -> None:
        assert well.status == 0, well.output
        results = {line.split()[1] for line in well.output.splitlines()[1:]}
        assert "failed" not in results

    def test_each_check_tells_what_it_has_found(self, well: Checked) -> None:
        for told in (
            "good keys: default",
            "certificate   ok       for localhost",
            "state: ",
            "service       ok       ready",
            "the instance's role (metadata service); good until",
            "clock         ok",
            "identity      ok       arn:aws:sts::123456789012:",
            "endpoints and 0 inference components are listed",
            "can be described",
            "are in service",
            "invoke        ok       demo-echo answers",
            "stream        ok       demo-echo answers",
        ):
            assert told in well.output, told

    def test_what_cannot_be_seen_from_here_is_said(self, well: Checked) -> None:
        assert well.verdicts("outside") == ["skipped"]
        assert "on a client: curl -k -m 5 https://HOST:" in well.output


@pytest.fixture(scope="module")
def role(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """Of a role that may list no endpoints, and not call the one that is tried."""
    emulator.deny("ListEndpoints")
    emulator.set_fault("demo-echo", "access_denied", times=None)
    directory = tmp_path_factory.mktemp("role")
    environ = emulator.environment() | {"API_KEY": str(uuid.uuid4())}
    with closed_port() as port:
        checked = check(directory, environ, settings(port), "--invoke", "demo-echo")
    emulator.clear_faults()
    return checked


class TestRole:
    def test_an_action_that_is_missing_is_told_with_its_resource(self, role: Checked) -> None:
        assert role.status == 1
        assert role.verdicts("may list") == ["failed"]
        assert role.tells("no models, `/readyz` is 503")
        assert role.tells("502 `upstream_error`")

    def test_the_action_for_streams_is_another(self, role: Checked) -> None:
        assert role.verdicts("invoke") == role.verdicts("stream") == ["failed"]
        for action in ("InvokeEndpoint", "InvokeEndpointWithResponseStream"):
            lacks = f"lacks the IAM action sagemaker:{action} on arn:aws:sagemaker:us-east-1:"
            assert lacks in role.output

    def test_what_depends_on_it_is_skipped(self, role: Checked) -> None:
        assert role.verdicts("may describe") == role.verdicts("models") == ["skipped"]


MODELS = """
keys_file = "KEYS"
[models.llama]
endpoint = "never-was"
[models.broken]
endpoint = "broken-chat"
"""


@pytest.fixture(scope="module")
def models(
    emulator: Emulator, proxy: RunningProxy, tmp_path_factory: pytest.TempPathFactory
) -> Checked:
    """Of models and keys, of which each has something else; and a new certificate."""
    directory = tmp_path_factory.mktemp("models")
    emulator.add_endpoint("broken-chat", chat.application())
    emulator.set_status("broken-chat", "Failed")
    emulator.add_endpoint("shared", chat.application(), kind="components", components=["part"])
    emulator.set_copies("part", 0)
    emulator.set_fault("demo-echo", "throttled", times=None)
    keys = directory / "keys.toml"
    keys.write_text(
        "".join(
            f'[keys.{name}]\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n{more}\n'
            for name, more in (("alice", "expires = 2020-01-01"), ("bob", ""))
        )
    )
    certificates.create(directory, ["proxy.example.com"])
    config = MODELS.replace("KEYS", str(keys)).partition("[models")
    checked = check(
        directory,
        emulator.environment(),
        config[0] + settings(proxy.port) + "".join(config[1:]),
        *("--invoke", "demo-echo"),
    )
    emulator.clear_faults()
    emulator.remove_endpoint("shared")
    emulator.remove_endpoint("broken-chat")
    return checked


class TestModelsAndKeys:
    @pytest.mark.parametrize(
        "seen",
        [
            "404 `model_not_found`",
            "503 `service_unavailable`",
            "503 `service_unavailable`, after a wait",
            "429, and the key has no limits",
            "401 `invalid_api_key`",
            "the old certificate, after a new one was written",
        ],
    )
    def test_it_is_told(self, models: Checked, seen: str) -> None:
        assert models.tells(seen), models.output

    def test_what_only_sleeps_or_is_throttled_has_not_failed(self, models: Checked) -> None:
        assert models.verdicts("models") == ["failed", "ok", "failed", "ok"]
        assert models.verdicts("invoke") == ["warning"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """Of a host without a service, a network or a role, and with an old certificate."""
    directory = tmp_path_factory.mktemp("alone")
    pair = certificates.create(directory, ["proxy.example.com"], days=0)
    pair_settings = f'certificate = "{pair.certificate}"\nprivate_key = "{pair.private_key}"\n'
    with closed_port() as port, closed_port() as away:
        environ = {
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": f"http://127.0.0.1:{away}",
            "API_KEY": "no-uuid",
        }
        return check(directory, environ, settings(port, pair_settings))


class TestAlone:
    @pytest.mark.parametrize(
        "seen",
        [
            "502 to every call",
            "502 or 504 to every call",
            "the certificate is refused",
            "connection refused",
        ],
    )
    def test_it_is_told(self, alone: Checked, seen: str) -> None:
        assert alone.tells(seen), alone.output

    def test_a_key_is_told_of_without_being_repeated(self, alone: Checked) -> None:
        assert alone.verdicts("keys") == ["failed"]
        assert "no-uuid" not in alone.output


@pytest.fixture(scope="module")
def strange(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """Of a host whose clock is behind, and whose port another program has; and of a poor role."""
    emulator.deny("DescribeModel")
    emulator.deny("ListInferenceComponents")
    directory = tmp_path_factory.mktemp("strange")
    with clock_ahead(TEN_MINUTES) as url, clock_ahead(0) as other:
        environ = emulator.environment() | {
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": url,
            "API_KEY": str(uuid.uuid4()),
        }
        alias = '[models.small]\nendpoint = "shared"\ninference_component = "small"\n'
        config = settings(int(other.rpartition(":")[2]), f"tls = false\n{alias}")
        checked = check(directory, environ, config)
    emulator.clear_faults()
    return checked


class TestStrange:
    @pytest.mark.parametrize(
        "seen",
        ["502 to every call, on a host that slept", "connection refused, or strange answers"],
    )
    def test_it_is_told(self, strange: Checked, seen: str) -> None:
        assert strange.tells(seen), strange.output

    def test_what_it_may_not_describe_is_a_warning_whatever_the_number_of_models(
        self, strange: Checked
    ) -> None:
        assert strange.verdicts("may describe") == ["warning"]
        lacks = "sagemaker:DescribeModel on arn:aws:sagemaker:us-east-1:123456789012:model/"
        assert re.search(rf"{lacks}\S+ \(and \d+ more\)", strange.output)

    def test_what_it_may_not_list_is_not_said_to_be_missing(self, strange: Checked) -> None:
        assert strange.verdicts("may list") == ["warning"]
        assert "lacks the IAM action sagemaker:ListInferenceComponents" in strange.output
        assert "the alias small" not in strange.output

    def test_the_other_program_is_named(self, strange: Checked) -> None:
        assert "(process " in strange.output


def test_a_worker_without_a_descriptor_left_is_told(emulator: Emulator, tmp_path: Path) -> None:
    with (
        RunningProxy(tmp_path, emulator.environment(), QUICK, open_files=64) as proxy,
        ExitStack() as clients,
    ):
        worker = Path(f"/proc/{proxy.workers[0]}/fd")
        for _ in range(64):
            address = ("127.0.0.1", proxy.port)
            clients.enter_context(socket.create_connection(address, timeout=10))
        deadline = time.monotonic() + 30
        while len([*worker.iterdir()]) < 64:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        environ = emulator.environment() | {"API_KEY": proxy.key}
        checked = check(tmp_path, environ, settings(proxy.port))
    assert checked.status == 1
    assert checked.tells("connections hang, or are reset"), checked.output


@pytest.fixture(scope="module", autouse=True)
def without_network(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[subprocess.Popen[str]]:
    """Of a network that swallows everything; it waits while the others run."""
    with silence() as url, closed_port() as port:
        services = ("SAGEMAKER", "SAGEMAKER_RUNTIME", "STS")
        environ = {f"AWS_ENDPOINT_URL_{service}": url for service in services} | {
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "API_KEY": str(uuid.uuid4()),
        }
        process = start(tmp_path_factory.mktemp("dead"), environ, settings(port))
        yield process
        process.kill()
        process.communicate()


def test_without_a_network_it_ends_and_says_so(without_network: subprocess.Popen[str]) -> None:
    checked = end(without_network)
    assert checked.status == 1
    assert checked.tells("502 or 504 to every call"), checked.output
    assert checked.verdicts("may list") == ["failed"]
    assert checked.verdicts("identity") == ["skipped"]
