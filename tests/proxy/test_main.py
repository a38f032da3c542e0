"""The command line explains itself, and says what is wrong in lines, not tracebacks."""

import hashlib
import io
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from proxy import __version__
from proxy.__main__ import main

ROOT = Path(__file__).parent.parent.parent
KEY = "3c6f2a52-1c0f-4d6e-9a53-0e6f4a8f2b11"


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("API_KEY", "REGION_NAME", "SAGEMAKER_PROXY_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_bare_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    for command in (
        "serve",
        "new-key",
        "hash-key",
        "new-certificate",
        "check",
        "check-config",
        "reload",
    ):
        assert command in printed


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["--version"]])
def test_help_and_version_are_no_errors(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    assert "sagemaker-proxy" in capsys.readouterr().out


def test_it_runs_as_a_module_and_as_a_script() -> None:
    script = Path(sys.executable).parent / "sagemaker-proxy"
    commands = [[sys.executable, "-m", "proxy", "--version"]]
    if script.exists():
        commands.append([str(script), "--version"])
    for command in commands:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout == f"sagemaker-proxy {__version__}\n"


def test_new_key_prints_a_uuid4(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-key"]) == 0
    assert uuid.UUID(capsys.readouterr().out.strip()).version == 4


def test_new_certificate_writes_a_pair_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tls"
    assert main(["new-certificate", "--host", "a.example.com", "10.0.0.1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert str(out / "certificate.pem") in printed
    assert "PRIVATE KEY" in (out / "private_key.pem").read_text()
    assert "SHA-256" in printed
    assert "PRIVATE" not in printed


def test_new_certificate_says_when_it_cannot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["new-certificate", "--host", "a", "--out", str(tmp_path / "file")]) == 1
    assert lines(capsys.readouterr().err)[0].startswith("sagemaker-proxy: cannot write to")


class TestHashKey:
    def test_it_prints_the_sha_256_of_the_key_on_standard_input(
        self, environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        environ.setattr("sys.stdin", io.StringIO(f" {KEY.upper()}\n"))
        assert main(["hash-key"]) == 0
        assert capsys.readouterr().out == hashlib.sha256(KEY.encode()).hexdigest() + "\n"

    def test_what_is_no_uuid4_is_refused_and_not_repeated(
        self, environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        environ.setattr("sys.stdin", io.StringIO("my-secret-key\n"))
        assert main(["hash-key"]) == 1
        printed = capsys.readouterr()
        assert "UUID4" in printed.err
        assert "my-secret-key" not in printed.out + printed.err


class TestServe:
    def test_without_a_key_it_says_how_to_make_one(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["serve"]) == 1
        (line,) = lines(capsys.readouterr().err)
        assert "API_KEY" in line
        assert "new-key" in line

    def test_a_key_that_is_no_uuid4_is_refused_and_not_repeated(
        self, environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        environ.setenv("API_KEY", "my-secret-key")
        assert main(["serve"]) == 1
        (line,) = lines(capsys.readouterr().err)
        assert "UUID4" in line
        assert "new-key" in line
        assert "my-secret-key" not in line

    def test_without_a_region_it_says_what_to_set(self, tmp_path: Path) -> None:
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "API_KEY": KEY}
        done = subprocess.run(
            [sys.executable, "-m", "proxy", "serve", "--port", "0"],
            cwd=ROOT,
            env=environ | {"AWS_EC2_METADATA_DISABLED": "true"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        (line,) = lines(done.stderr)
        assert "REGION_NAME" in line

    def test_every_problem_of_the_settings_has_its_line(
        self, environ: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        environ.setenv("API_KEY", KEY)
        config = tmp_path / "config.toml"
        config.write_text("[server]\nport = -1\ntsl = false\n")
        assert main(["serve", "--config", str(config)]) == 1
        assert lines(capsys.readouterr().err) == [
            "sagemaker-proxy: server.port: must be between 0 and 65535 (0: any free port), not -1",
            "sagemaker-proxy: server.tsl: is no setting; did you mean server.tls?",
        ]


class TestCheckConfig:
    def test_it_prints_the_settings_in_effect_without_the_key(
        self, environ: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        environ.setenv("API_KEY", KEY)
        environ.setenv("REGION_NAME", "us-west-2")
        config = tmp_path / "config.toml"
        config.write_text("[server]\nport = 9443\n")
        assert main(["check-config", str(config)]) == 0
        printed = capsys.readouterr().out
        shown = json.loads(printed)
        assert shown["region"] == "us-west-2"
        assert shown["server"]["port"] == 9443
        assert KEY not in printed

    def test_it_prints_all_problems_whatever_their_kind(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = tmp_path / "config.toml"
        config.write_text("[upstream]\nretries = -1\n")
        assert main(["check-config", str(config)]) == 1
        retries, key = lines(capsys.readouterr().err)
        assert "upstream.retries: must be at least 0" in retries
        assert "API_KEY" in key

    def test_it_finds_keys_beside_the_settings_and_reports_their_problems(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config, keys = tmp_path / "config.toml", tmp_path / "keys.toml"
        config.write_text("")
        keys.write_text(f'[keys.alice]\nsha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"\n')
        assert main(["check-config", str(config)]) == 0
        assert json.loads(capsys.readouterr().out)["keys_file"] == str(keys)
        keys.write_text('[keys.alice]\nsha256 = "wrong"\n')
        assert main(["check-config", str(config)]) == 1
        assert "keys.alice.sha256" in capsys.readouterr().err
        keys.write_text("")
        assert main(["check-config", str(config)]) == 1
        assert "holds no key" in capsys.readouterr().err

    def test_a_certificate_that_does_not_fit_its_key_is_a_problem(
        self, environ: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        environ.setenv("API_KEY", KEY)
        for name in ("one", "two"):
            main(["new-certificate", "--host", "a", "--out", str(tmp_path / name)])
        config = tmp_path / "config.toml"
        config.write_text(
            f'[server]\ncertificate = "{tmp_path}/one/certificate.pem"\n'
            f'private_key = "{tmp_path}/two/private_key.pem"\n'
        )
        assert main(["check-config", str(config)]) == 1
        assert "cannot use the certificate" in capsys.readouterr().err


class TestCheck:
    def test_it_prints_a_table_and_fails_if_anything_does(
        self, environ: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        environ.setenv("API_KEY", "my-secret-key")
        environ.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "http://127.0.0.1:9")
        config = tmp_path / "config.toml"
        config.write_text('region = "us-east-1"\n[server]\nport = 0\n')
        assert main(["check", "--config", str(config)]) == 1
        printed = capsys.readouterr().out
        heading, settings, *rest = lines(printed)
        assert heading.split() == ["CHECK", "RESULT", "FOUND", "WHAT", "TO", "DO"]
        assert settings.split() == ["settings", "ok", str(config), "can", "be", "used"]
        assert any(line.startswith("keys") and "failed" in line for line in rest)
        assert "my-secret-key" not in printed

    def test_it_prints_json_for_programs(
        self, environ: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = tmp_path / "config.toml"
        config.write_text("[server]\nport = -1\n")
        assert main(["check", "--config", str(config), "--json"]) == 1
        first, _ = json.loads(capsys.readouterr().out)
        assert (first["check"], first["result"]) == ("settings", "failed")


class TestReload:
    def test_what_is_broken_is_told_before_the_service_is_asked(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = tmp_path / "config.toml"
        config.write_text("not toml")
        assert main(["reload", str(config)]) == 1
        assert "is not TOML" in capsys.readouterr().err

    def test_without_a_service_it_says_where_it_looked(
        self, environ: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        environ.setenv("API_KEY", KEY)
        environ.setenv("RUNTIME_DIRECTORY", str(tmp_path))
        assert main(["reload"]) == 1
        (line,) = lines(capsys.readouterr().err)
        assert line.startswith("sagemaker-proxy: not reloaded: no answer")
        assert str(tmp_path / "control") in line


class TestUsage:
    LINE = json.dumps(
        {
            "time": "2026-11-30T12:00:00.000+00:00",
            "logger": "proxy.access",
            "status": 200,
            "key": "alice",
            "model": "llama",
            "prompt_tokens": 3,
        }
    )

    def test_a_log_from_elsewhere_is_read(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log = tmp_path / "log"
        log.write_text(f"{self.LINE}\n")
        assert main(["usage", "--input", str(log), "--json", "--since", "2026-11-01"]) == 0
        assert json.loads(capsys.readouterr().out)["total"]["prompt_tokens"] == 3

    def test_one_that_is_not_there_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["usage", "--input", "/nowhere"]) == 1
        assert "/nowhere: cannot be read: No such file" in capsys.readouterr().err

    def test_a_moment_that_is_none_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["usage", "--since", "soon"])
        assert "is no moment: write 2026-11-30" in capsys.readouterr().err
