"""A fleet, made once: one host is provisioned, and three boot from what it has become."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from tests.fleet.balancer import Balancer
from tests.fleet.crossing import Crossing
from tests.fleet.fleet import Fleet
from tests.fleet.snapshot import Snapshot, take
from tests.integration.shared_counts import CountsServer
from tests.provisioning.service import Service
from tests.testhost.authority import Authority
from tests.testhost.host import Host
from tests.testhost.image import Image
from tests.testhost.locks import exclusively
from tests.testhost.playbook import play
from tests.testhost.sagemaker import SageMaker

ROOT = Path(__file__).parents[2]
NAMES = ("one", "two", "three")
LIFETIME = timedelta(hours=1)
COUNTS_PORT = 6379


@pytest.fixture(scope="session")
def wheelhouse(image: Image) -> Path:
    """The wheels that a host without a package index is given, as a user makes them."""
    with exclusively(ROOT):
        subprocess.run(["make", "wheelhouse"], cwd=ROOT, check=True, capture_output=True)
    return ROOT / ".wheelhouse"


@pytest.fixture(scope="session")
def snapshot(
    image: Image, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Snapshot]:
    """A host on which site.yml has been played."""
    directory = tmp_path_factory.mktemp("mould")
    with Host("mould", image) as host, SageMaker(host, LIFETIME) as sagemaker:
        variables = {
            "python_wheelhouse": str(wheelhouse),
            "proxy_environment": sagemaker.environment,
            "api_keys_file": str(directory / "key"),
            "proxy_workers": 1,
        }
        play(host, "site.yml", variables=variables)
        host.run("systemctl stop sagemaker-proxy.socket sagemaker-proxy.service; sync")
        yield take(host, image, tmp_path_factory.mktemp("snapshot"))


@pytest.fixture(scope="session")
def fleet(
    snapshot: Snapshot, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """All of them in service, with nothing left to change."""
    directory = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        crossing = stack.enter_context(Crossing())
        counts = stack.enter_context(
            CountsServer(
                crossing.directory, at=(crossing.address, COUNTS_PORT), start=crossing.start
            )
        )
        hosts = [stack.enter_context(Host(name, snapshot)) for name in NAMES]
        sagemakers = [stack.enter_context(SageMaker(host, LIFETIME)) for host in hosts]
        variables = {
            "python_wheelhouse": str(wheelhouse),
            "api_keys_file": str(directory / "key"),
            "api_keys_replace": True,  # those of the mould
            "proxy_workers": 1,
            "proxy_settings": {
                "catalog": {"refresh_seconds": 5},
                "limits": {"backend": counts.url, "without_backend": "open"},
            },
            "environments": {
                host.address: each.environment for host, each in zip(hosts, sagemakers, strict=True)
            },
            "proxy_environment": "{{ environments[inventory_hostname] }}",
            **certified(directory, crossing.address, *(host.address for host in hosts)),
        }
        services = {
            host.name: Service(host, sagemaker, directory, variables)
            for host, sagemaker in zip(hosts, sagemakers, strict=True)
        }
        addresses = {host.name: host.address for host in hosts}
        balancer = stack.enter_context(Balancer(crossing, addresses))
        authority = directory / "authority.pem"
        fleet = Fleet(services, balancer, counts, crossing, authority, directory / "key", variables)
        fleet.play(proxy_serial="100%")
        balancer.wait_for(len(NAMES))
        yield fleet


def certified(directory: Path, *addresses: str) -> dict[str, str]:
    """The variables of a certificate that every host has, good for each address."""
    authority = Authority("fleet")
    certificate, private_key = authority.issue(*addresses)
    (directory / "authority.pem").write_bytes(authority.certificate)
    return {
        "certificates_mode": "provided",
        "certificates_provided_certificate_content": certificate.decode(),
        "certificates_provided_private_key_content": private_key.decode(),
    }
