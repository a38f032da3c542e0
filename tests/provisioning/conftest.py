"""Hosts with the proxy on them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tests.provisioning.service import Provision, Service
from tests.testhost.host import Host
from tests.testhost.image import Image
from tests.testhost.locks import exclusively
from tests.testhost.playbook import Outcome
from tests.testhost.sagemaker import SageMaker

ROOT = Path(__file__).parents[2]

AS_TEXT = (
    "proxy_port=8000 proxy_workers=2 proxy_tls=true api_keys_overlap_seconds=60 "
    "certificates_selfsigned_renew_days=30 api_keys_replace=false"
)


@pytest.fixture(scope="session")
def wheelhouse(image: Image) -> Path:
    """The wheels that a host without a package index is given, as a user makes them."""
    with exclusively(ROOT):
        subprocess.run(["make", "wheelhouse"], cwd=ROOT, check=True, capture_output=True)
    return ROOT / ".wheelhouse"


@pytest.fixture(scope="session")
def boot(image: Image, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Provision:
    """Boots a pristine host with a SageMaker beside it; nothing is played on it yet."""

    @contextmanager
    def boot(name: str) -> Iterator[Service]:
        directory = tmp_path_factory.mktemp(name)
        with (
            Host(name, image) as host,
            SageMaker(host, credentials_lifetime=timedelta(seconds=15)) as sagemaker,
        ):
            variables = {
                "python_wheelhouse": str(wheelhouse),
                "proxy_environment": sagemaker.environment,
                "proxy_settings": {"catalog": {"refresh_seconds": 5}},
                "api_keys_file": str(directory / "key"),
            }
            yield Service(host, sagemaker, directory, variables)

    return boot


@dataclass(frozen=True)
class FirstDay:
    """What a first day brings: the host, how each play went, and what was changed by hand."""

    service: Service
    played: dict[str, Outcome]
    models_by_hand: list[str]
    restarted: bool


@pytest.fixture(scope="session")
def first_day(boot: Provision) -> Iterator[FirstDay]:
    """A host that was pristine, and has been through its first day."""
    with boot("service") as service:
        played = {
            "check on a pristine host": service.play(check=True, diff=True, as_shipped=True),
            "first": service.play(as_shipped=True),
            # The same as by default, but all of them text, as they are on a command line.
            "second": service.play("site.yml", "--extra-vars", AS_TEXT, as_shipped=True),
            "check on a converged host": service.play(check=True, diff=True, as_shipped=True),
        }
        main = service.show("MainPID")
        service.host.run(
            "cd /etc/sagemaker-proxy; chmod 0666 keys.toml; echo '#' >> config.toml; "
            "echo 'models = [\"demo-echo\"]' >> keys.toml; systemctl reload sagemaker-proxy"
        )
        models = service.models()
        played["after changes by hand"] = service.play(as_shipped=True)
        yield FirstDay(service, played, models, service.show("MainPID") != main)


@pytest.fixture(scope="session")
def service(first_day: FirstDay) -> Service:
    """A host on which site.yml has been played."""
    return first_day.service


@pytest.fixture(scope="session")
def other_service(boot: Provision) -> Iterator[Service]:
    """Another host on which site.yml has been played, for tests that change what it has."""
    with boot("other") as service:
        service.play()
        yield service
