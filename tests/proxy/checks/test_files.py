"""Keys, certificates and disks are judged by what is on the host."""

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from proxy import certificates
from proxy.checks import files
from proxy.checks.finding import Finding, Verdict
from proxy.config import Config, ServerConfig
from proxy.keys import Caller, Key

MEBIBYTE = 1024 * 1024


def verdicts(findings: list[Finding]) -> list[Verdict]:
    return [finding.verdict for finding in findings]


class TestKeys:
    @pytest.fixture
    def config(self, tmp_path: Path) -> Config:
        path = tmp_path / "keys.toml"
        digest = hashlib.sha256(str(uuid.uuid4()).encode()).hexdigest()
        path.write_text(f'[keys.alice]\nsha256 = "{digest}"\n')
        path.chmod(0o640)
        return Config(keys_file=str(path))

    def test_good_ones_are_named(self, config: Config) -> None:
        (finding,) = files.check_keys(config)
        assert (finding.verdict, finding.found) == (Verdict.OK, "good keys: alice")

    def test_a_file_that_everybody_can_read_is_warned_of(self, config: Config) -> None:
        Path(config.keys_file).chmod(0o644)
        _, finding = files.check_keys(config)
        assert finding.verdict is Verdict.WARNING
        assert finding.to_do == f"chmod o= {config.keys_file}"

    def test_every_problem_of_the_file_is_told(self, config: Config) -> None:
        Path(config.keys_file).write_text('[keys.alice]\nsha256 = "x"\n[keys.bob]\n')
        findings = files.check_keys(config)
        assert verdicts(findings) == [Verdict.FAILED] * len(findings)
        assert any("keys.alice.sha256" in finding.found for finding in findings)

    def test_none_at_all_is_a_failure(self) -> None:
        (finding,) = files.check_keys(Config())
        assert finding.verdict is Verdict.FAILED
        assert "no API key" in finding.found

    def test_whose_time_is_over_is_named(self) -> None:
        keys = [Key(Caller("alice"), 100.0), Key(Caller("bob"), 300.0), Key(Caller("carol"))]
        finding = files.judge_keys(keys, now=200.0)
        assert finding.verdict is Verdict.WARNING
        assert finding.found == "good keys: bob, carol; expired, and so rejected: alice"
        assert files.judge_keys(keys[:1], now=200.0).verdict is Verdict.FAILED

    def test_a_key_that_has_another_beside_it_is_not_over(self) -> None:
        keys = [Key(Caller("alice"), 100.0), Key(Caller("alice"))]
        assert files.judge_keys(keys, now=200.0).verdict is Verdict.OK


class TestCertificate:
    def read(self, directory: Path) -> x509.Certificate:
        pair = certificates.create(directory, ["proxy.example.com", "192.0.2.7"], days=100)
        return x509.load_pem_x509_certificate(pair.certificate.read_bytes())

    @pytest.mark.parametrize(
        ("days", "verdict", "told"),
        [
            (0, Verdict.OK, "good until"),
            (85, Verdict.OK, "good until"),
            (87, Verdict.WARNING, "good until"),
            (101, Verdict.FAILED, "expired on"),
            (-2, Verdict.FAILED, "good from"),
        ],
    )
    def test_its_time_is_now(self, tmp_path: Path, days: int, verdict: Verdict, told: str) -> None:
        now = datetime.now(UTC) + timedelta(days=days)
        finding = files.judge_certificate(self.read(tmp_path), now)
        assert finding.verdict is verdict
        assert told in finding.found
        assert "proxy.example.com, 192.0.2.7" in finding.found

    def test_a_private_key_that_is_not_its_own_is_a_failure(self, tmp_path: Path) -> None:
        one = certificates.create(tmp_path / "one", ["a"])
        other = certificates.create(tmp_path / "other", ["a"])
        server = ServerConfig(certificate=str(one.certificate), private_key=str(other.private_key))
        (finding,) = files.check_certificate(Config(server=server))
        assert finding.verdict is Verdict.FAILED
        assert "cannot use the certificate" in finding.found

    def test_a_private_key_that_everybody_can_read_is_warned_of(self, tmp_path: Path) -> None:
        pair = certificates.create(tmp_path, ["a"])
        pair.private_key.chmod(0o644)
        server = ServerConfig(certificate=str(pair.certificate), private_key=str(pair.private_key))
        findings = files.check_certificate(Config(server=server))
        assert verdicts(findings) == [Verdict.OK, Verdict.WARNING]

    def test_without_tls_there_is_none_to_look_at(self) -> None:
        (finding,) = files.check_certificate(Config(server=ServerConfig(tls=False)))
        assert finding.verdict is Verdict.OK

    def test_one_that_is_made_at_the_start_need_not_be_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
        (finding,) = files.check_certificate(Config())
        assert finding.verdict is Verdict.OK
        assert [*tmp_path.iterdir()] == []


class TestSpace:
    @pytest.mark.parametrize(
        ("mebibytes", "more_files", "verdict"),
        [
            (1000, None, Verdict.OK),
            (1000, 100_000, Verdict.OK),
            (50, 100_000, Verdict.WARNING),
            (0, 100_000, Verdict.FAILED),
            (1000, 500, Verdict.WARNING),
            (1000, 0, Verdict.FAILED),
        ],
    )
    def test_bytes_and_files_are_enough_or_not(
        self, mebibytes: int, more_files: int | None, verdict: Verdict
    ) -> None:
        finding = files.judge_space("state: /var", mebibytes * MEBIBYTE, more_files)
        assert finding.verdict is verdict
        assert finding.found.startswith(f"state: /var has {mebibytes:,} MiB left")

    def test_it_is_looked_at_where_the_proxy_writes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        state, run = tmp_path / "state", tmp_path / "run"
        monkeypatch.setenv("STATE_DIRECTORY", str(state))
        run.mkdir()
        places = files.places({"RUNTIME_DIRECTORY": str(run)})
        assert (places["state"], places["figures"]) == (state, run)

    def test_a_folder_that_is_made_at_the_start_need_not_be_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "not" / "yet"))
        assert files.check_space()[0].found.startswith("state: ")
        assert not (tmp_path / "not").exists()
