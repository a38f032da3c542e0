"""What an operator does to a running service, and what befalls it, costs no more than it must."""

import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.provisioning.load import Load
from tests.provisioning.service import CURRENT, Service

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]


def copy_of_the_code(directory: Path, version: str) -> Path:
    """The project's code as another version, to be installed as a release of its own."""
    source = directory / version
    shutil.copytree(ROOT / "proxy", source / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", source)
    package = source / "proxy" / "__init__.py"
    package.write_text(
        re.sub(r'__version__ = "[^"]*"', f'__version__ = "{version}"', package.read_text())
    )
    return source


@pytest.fixture
def calm(service: Service) -> Iterator[Service]:
    """The service with all its workers, before and after."""
    service.wait_until(lambda: ": 2 of 2 workers serve; " in service.show("StatusText"), 60)
    yield service
    service.wait_until(lambda: ": 2 of 2 workers serve; " in service.show("StatusText"), 60)


# An aiohttp client whose server closes in the middle of TLS leaves its socket to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestUnderLoad:
    def test_reloads_and_an_upgrade_drop_nothing(self, calm: Service, tmp_path: Path) -> None:
        service = calm
        main = service.show("MainPID")
        with Load(service) as load:
            for _ in range(5):
                before = service.workers()
                service.host.run("systemctl reload sagemaker-proxy", timeout=120)
                assert not set(service.workers()[-2:]) <= set(before)
            assert load.counts.answered > 0
            reloaded = load.counts.answered
            # No wheels and no index: the lock file is that of the release before.
            nothing = tmp_path / "nothing"
            nothing.mkdir()
            source = copy_of_the_code(tmp_path, "9.0.0")
            service.play(proxy_source=str(source), python_wheelhouse=str(nothing))
            assert load.counts.answered > reloaded
        assert service.host.run(f"ls {CURRENT}/bin/pip", check=False).stdout == ""
        print(f"answered {load.counts.answered}, streamed {load.counts.streamed}")
        assert service.release().startswith("9.0.0-")
        assert service.get("/").json() == {"sagemaker-proxy": "9.0.0"}
        assert service.show("MainPID") == main
        assert (load.counts.failed, load.counts.refused, load.counts.cut) == ([], [], [])
        assert load.counts.streamed >= 100

    def test_a_restart_refuses_nobody_and_cuts_no_stream(self, calm: Service) -> None:
        with Load(calm) as load:
            calm.host.run(
                "systemctl daemon-reload && systemctl restart sagemaker-proxy", timeout=120
            )
            answered = load.counts.answered
            calm.wait_until(
                lambda: load.counts.answered > answered and load.counts.begun >= 100, 60
            )
        print(f"answered {load.counts.answered}, streamed {load.counts.streamed}")
        print(f"failed on kept connections: {len(load.counts.failed)}")
        assert (load.counts.refused, load.counts.cut) == ([], [])
        assert load.counts.streamed >= 100
        assert len(calm.workers()) == 2


class TestCredentials:
    def test_calls_go_on_while_credentials_expire(self, calm: Service) -> None:
        before = set(calm.sagemaker.access_keys())
        with calm.session() as session:

            def another_pair_was_used_thrice() -> bool:
                answer = session.post(f"{calm.url}/predict", json={"model": "demo-echo"})
                assert answer.status_code == 200, answer.text
                return len(set(calm.sagemaker.access_keys()) - before) >= 3

            # Those of before have expired by then: they are good for 15 seconds.
            calm.wait_until(another_pair_was_used_thrice, 90)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestTrouble:
    def test_a_worker_that_is_killed_is_replaced_within_seconds(self, calm: Service) -> None:
        victim, other = calm.workers()
        calm.host.run(f"kill -KILL {victim}")
        seconds = calm.wait_until(lambda: len({*calm.workers()} - {victim, other}) == 1, 3)
        calm.wait_until(lambda: ": 2 of 2 workers serve" in calm.show("StatusText"), 10)
        print(f"replaced after {seconds:.1f} s")
        assert other in calm.workers()
        assert calm.models()

    def test_a_worker_that_hangs_is_killed_and_replaced(self, calm: Service) -> None:
        victim, other = calm.workers()
        calm.host.run(f"kill -STOP {victim}")
        calm.wait_until(lambda: victim not in calm.workers(), 10)
        calm.wait_until(lambda: ": 2 of 2 workers serve" in calm.show("StatusText"), 10)
        assert other in calm.workers()
        assert calm.models()

    def test_a_supervisor_that_hangs_is_replaced_and_no_request_is_lost(
        self, calm: Service
    ) -> None:
        main = calm.show("MainPID")
        with Load(calm, callers=4, streams=10) as load:
            calm.host.run(f"kill -STOP {main}")
            seconds = calm.wait_until(
                lambda: (
                    calm.show("MainPID") not in ("0", main)
                    and ": 2 of 2 workers serve" in calm.show("StatusText")
                ),
                60,
            )
        print(f"replaced after {seconds:.1f} s")
        assert (load.counts.refused, load.counts.cut) == ([], [])
        assert calm.models()

    def test_a_reload_of_broken_settings_fails_visibly_and_touches_nothing(
        self, calm: Service
    ) -> None:
        before = calm.workers()
        for name in ("config.toml", "keys.toml", "certificate.pem"):
            path = f"/etc/sagemaker-proxy/{name}"
            calm.host.run(f"cp -p {path} /root/kept; echo broken > {path}")
            try:
                done = calm.host.run("systemctl reload sagemaker-proxy", check=False)
                assert done.returncode != 0
                assert "journalctl" in done.stderr
                last = [entry for entry in calm.journal() if entry["logger"] == "proxy"][-1]
                assert (last["level"], path in last["message"]) == ("error", True)
            finally:
                calm.host.run(f"cp -p /root/kept {path}")
        assert calm.workers() == before
        assert calm.show("ActiveState") == "active"
        calm.host.run("systemctl reload sagemaker-proxy")
        assert calm.models()

    def test_after_a_reboot_it_is_back(self, calm: Service) -> None:
        calm.host.reboot()
        calm.wait_until(lambda: calm.show("ActiveState") == "active", 30)
        assert calm.models()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestRollBack:
    def test_a_release_that_does_not_start_is_rolled_back_while_the_old_one_serves(
        self, calm: Service, tmp_path: Path
    ) -> None:
        release, main = calm.release(), calm.show("MainPID")
        source = copy_of_the_code(tmp_path, "9.1.0")
        (source / "proxy" / "server.py").write_text("raise SystemExit(1)")
        with Load(calm, callers=1, streams=1) as load:
            outcome = calm.play(ok=False, proxy_source=str(source))
        assert (load.counts.failed, load.counts.refused, load.counts.cut) == ([], [], [])
        assert outcome.rescued == 1
        assert f"Everything is as it was before, with release {release}." in outcome.output
        assert (calm.release(), calm.show("MainPID")) == (release, main)
        assert calm.models()

    def test_a_release_that_is_not_ready_is_rolled_back_and_so_are_port_and_keys(
        self, calm: Service, tmp_path: Path
    ) -> None:
        release = calm.release()
        source = copy_of_the_code(tmp_path, "9.2.0")
        health = source / "proxy" / "handlers" / "health.py"
        health.write_text(
            health.read_text().replace("services.state.draining,", "not services.state.draining,")
        )
        keys = [{"name": "alice", "key": str(uuid.uuid4())}]
        # So that the run makes a new pair, of which the old private key must not become half.
        calm.host.run("rm /etc/sagemaker-proxy/certificate.pem")
        outcome = calm.play(ok=False, proxy_source=str(source), proxy_port=8443, api_keys_list=keys)
        assert "The service is not ready: the server is shutting down" in outcome.output
        assert calm.release() == release
        assert calm.get("/readyz").status_code == 200
        assert calm.models()
        whole = calm.host.run("cd /opt/sagemaker-proxy/releases && ls */installed").stdout
        assert "9.2.0-" not in whole

    def test_a_run_that_was_cut_is_made_up_for_and_the_last_three_releases_are_kept(
        self, calm: Service, tmp_path: Path
    ) -> None:
        calm.host.run(
            "cd /opt/sagemaker-proxy/releases && for number in 1 2 3 4; do "
            "mkdir old-$number && touch --date=2020-01-0$number old-$number/installed; done; "
            "mkdir never-whole"
        )
        before = calm.release()
        source = copy_of_the_code(tmp_path, "9.3.0")
        lock = source / "requirements.txt"
        lock.write_text(lock.read_text() + "# another lock file: the packages are installed anew\n")
        changes: dict[str, Any] = {
            "proxy_source": str(source),
            "proxy_environment": {**calm.sagemaker.environment, "ADDED": "1"},
        }
        calm.play(cut_at="proxy : Look how the service is", **changes)
        calm.play(**changes)
        assert "ADDED=1" in calm.host.run(f"cat /proc/{calm.show('MainPID')}/environ").stdout
        assert calm.get("/").json() == {"sagemaker-proxy": "9.3.0"}
        assert calm.host.run(f"ls {CURRENT}/bin/pip").stdout
        kept = calm.host.run("ls -t /opt/sagemaker-proxy/releases").stdout.split()
        assert len(kept) == 3
        assert {calm.release(), before} < set(kept)
        assert not {"old-1", "old-2", "old-3", "never-whole"} & set(kept)
