"""site.yml makes a service of a bare instance, and changes nothing when there is nothing to do."""

import json
import re
from pathlib import Path

import pytest

from tests.provisioning.conftest import FirstDay
from tests.provisioning.service import CURRENT, UNIT, Service
from tests.testhost.playbook import Outcome

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def played(first_day: FirstDay) -> dict[str, Outcome]:
    return first_day.played


class TestPlays:
    def test_check_mode_works_on_a_pristine_host_and_shows_what_it_would_do(
        self, played: dict[str, Outcome]
    ) -> None:
        outcome = played["check on a pristine host"]
        assert outcome.changed > 10
        assert "+ExecStart=" in outcome.output

    def test_the_first_run_says_where_the_key_is_and_keeps_it_to_itself(
        self, service: Service, played: dict[str, Outcome]
    ) -> None:
        assert str(service.key_file) in played["first"].output
        assert not any(service.key in outcome.output for outcome in played.values())
        assert service.key_file.stat().st_mode & 0o777 == 0o600

    def test_the_second_run_changes_nothing(self, played: dict[str, Outcome]) -> None:
        assert played["second"].changed_tasks == []
        assert "A new API key" not in played["second"].output

    def test_check_mode_finds_nothing_to_change_on_a_converged_host(
        self, played: dict[str, Outcome]
    ) -> None:
        assert played["check on a converged host"].changed_tasks == []

    def test_what_was_changed_and_loaded_by_hand_is_put_right_without_a_restart(
        self, first_day: FirstDay
    ) -> None:
        changed = first_day.played["after changes by hand"].changed_tasks
        assert [task for task in changed if "Write" in task] == [
            "api_keys : Write keys.toml",
            "proxy : Write the settings",
        ]
        assert first_day.models_by_hand == ["demo-echo"]
        assert len(first_day.service.models()) > 1
        assert not first_day.restarted

    def test_settings_that_are_wrong_are_refused_and_change_nothing(self, service: Service) -> None:
        outcome = service.play(ok=False, proxy_settings={"server": {"drain_second": 1}})
        assert "did you mean server.drain_seconds?" in outcome.output
        written = service.host.run("cat /etc/sagemaker-proxy/config.toml").stdout
        assert "drain_second" not in written
        assert service.models()

    def test_a_failure_of_the_first_step_tells_what_is_left(self, service: Service) -> None:
        outcome = service.play(ok=False, python_version="3.0")
        assert "value of python_version must be one of" in outcome.output
        left = f"Everything is as it was before, with release {service.release()}."
        assert left in outcome.output


class TestHost:
    def test_the_interpreter_is_beside_the_systems_own(self, service: Service) -> None:
        seen = service.testinfra()
        assert seen.package("python3.11").is_installed
        assert seen.check_output(f"{CURRENT}/bin/python --version").startswith("Python 3.11")
        assert seen.file("/usr/bin/python3").linked_to == "/usr/libexec/standin/python3.11"

    def test_the_user_can_do_nothing_else(self, service: Service) -> None:
        user = service.testinfra().user("sagemaker-proxy")
        assert user.exists
        assert user.shell == "/usr/sbin/nologin"
        assert user.groups == ["sagemaker-proxy"]
        assert user.uid < 1000

    @pytest.mark.parametrize(
        ("path", "user", "group", "mode"),
        [
            ("/etc/sagemaker-proxy", "root", "sagemaker-proxy", 0o750),
            ("/etc/sagemaker-proxy/config.toml", "root", "sagemaker-proxy", 0o640),
            ("/etc/sagemaker-proxy/keys.toml", "root", "sagemaker-proxy", 0o640),
            ("/etc/sagemaker-proxy/certificate.pem", "root", "sagemaker-proxy", 0o640),
            ("/etc/sagemaker-proxy/private_key.pem", "root", "sagemaker-proxy", 0o640),
            ("/etc/sagemaker-proxy/environment", "root", "root", 0o600),
            ("/opt/sagemaker-proxy", "root", "root", 0o755),
            ("/opt/sagemaker-proxy/loaded", "root", "root", 0o600),
            ("/opt/sagemaker-proxy/as-service", "root", "root", 0o755),
            ("/var/lib/sagemaker-proxy", "sagemaker-proxy", "sagemaker-proxy", 0o700),
            ("/run/sagemaker-proxy/control", "sagemaker-proxy", "sagemaker-proxy", 0o600),
            (f"/etc/systemd/system/{UNIT}", "root", "root", 0o644),
            ("/etc/systemd/system/sagemaker-proxy.socket", "root", "root", 0o644),
        ],
    )
    def test_each_file_has_its_owner_and_mode(
        self, service: Service, path: str, user: str, group: str, mode: int
    ) -> None:
        file = service.testinfra().file(path)
        assert (file.user, file.group, file.mode) == (user, group, mode)

    def test_the_code_is_roots_and_nobody_elses_to_write(self, service: Service) -> None:
        found = service.host.run(
            "find -H /opt/sagemaker-proxy ! -type l "
            "'(' ! -user root -o ! -group root -o -perm /022 ')'"
        )
        assert found.stdout == ""

    def test_nothing_that_everybody_can_read_holds_a_secret(self, service: Service) -> None:
        private = service.host.run("sed -n 2p /etc/sagemaker-proxy/private_key.pem").stdout.strip()
        for secret in (service.key, private):
            found = service.host.run(
                "grep --recursive --files-with-matches --fixed-strings --file=- "
                "/etc /opt /var /run /tmp /home /root 2>/dev/null",
                check=False,
                stdin=secret + "\n",
            )
            assert found.stdout.split() == (
                ["/etc/sagemaker-proxy/private_key.pem"] if secret == private else []
            )

    def test_no_secret_is_on_a_command_line(self, service: Service) -> None:
        assert service.key not in service.host.run("ps -eo args").stdout

    def test_the_units_are_enabled_and_run(self, service: Service) -> None:
        seen = service.testinfra()
        for name in (UNIT, "sagemaker-proxy.socket"):
            assert seen.service(name).is_enabled
            assert seen.service(name).is_running

    def test_there_is_a_socket_for_each_worker(self, service: Service) -> None:
        assert service.testinfra().socket("tcp://8000").is_listening
        listening = service.host.run("ss --listening --tcp --numeric --no-header").stdout
        assert len(re.findall(r"\*:8000 ", listening)) == len(service.workers())

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("LimitNOFILE", "65536"),
            ("TasksMax", "512"),
            ("Restart", "always"),
            ("Type", "notify"),
            ("WatchdogUSec", "15s"),
            ("TimeoutStopUSec", "45s"),
            ("OOMPolicy", "continue"),
            ("User", "sagemaker-proxy"),
        ],
    )
    def test_the_unit_has_its_bounds(self, service: Service, name: str, value: str) -> None:
        assert service.show(name) == value

    def test_the_memory_bound_fits_any_instance(self, service: Service) -> None:
        total = int(service.host.run("awk '/MemTotal/ {print $2}' /proc/meminfo").stdout) * 1024
        assert 0.75 < int(service.show("MemoryMax")) / total < 0.85

    def test_the_status_tells_release_and_workers(self, service: Service) -> None:
        assert service.show("StatusText").startswith(f"{service.release()}: 2 of 2 workers serve")

    def test_the_journal_has_json_under_the_services_name(self, service: Service) -> None:
        assert any(entry["message"] == "serving" for entry in service.journal())
        line = f"journalctl --unit={UNIT} --output=json --lines=1 --no-pager _COMM=python"
        entry = json.loads(service.host.run(line).stdout)
        assert entry["SYSLOG_IDENTIFIER"] == "sagemaker-proxy"


class TestService:
    def test_it_serves_what_the_account_has(self, service: Service) -> None:
        assert "demo-chat" in service.models()

    def test_it_signs_with_the_instances_role(self, service: Service) -> None:
        with service.session() as session:
            answer = session.post(f"{service.url}/endpoints/demo-echo/invocations", data=b"hello")
        assert (answer.status_code, answer.content) == (200, b"hello")
        assert all(key.startswith("ASIA") for key in service.sagemaker.access_keys())

    def test_what_each_key_has_used_is_added_up_from_the_journal(self, service: Service) -> None:
        with service.session() as session:
            session.post(f"{service.url}/endpoints/demo-echo/invocations", data=b"hello")
        line = f"{CURRENT}/bin/sagemaker-proxy usage --since 1h --json"
        service.wait_until(lambda: "demo-echo" in service.host.run(line).stdout, 20)
        (use,) = [
            each
            for each in json.loads(service.host.run(line).stdout)["usage"]
            if each["model"] == "demo-echo"
        ]
        assert use["key"] == "default"
        assert use["requests"] >= 1
        refused = service.host.run(f"runuser -u nobody -- {line}", check=False)
        assert "run it with sudo" in refused.stderr

    def test_verify_calls_it_from_the_controller_and_prints_what_it_finds(
        self, service: Service
    ) -> None:
        outcome = service.play("verify.yml", "-vvv", as_shipped=True)
        assert outcome.changed == 0
        for found in (service.url, "demo-chat", service.host.address, "without a key: '401'"):
            assert found in outcome.output
        assert service.key not in outcome.output

    def test_verify_fails_when_the_service_does_not_answer(self, service: Service) -> None:
        outcome = service.play("verify.yml", ok=False, proxy_port=8001)
        assert "Connection refused" in outcome.output

    def test_verify_needs_a_key(self, service: Service, tmp_path: Path) -> None:
        outcome = service.play("verify.yml", ok=False, api_keys_file=str(tmp_path / "none"))
        assert f"copy the host's key to {tmp_path / 'none'}" in " ".join(outcome.output.split())
