"""On a host, `check` runs as the service does, and finds what only a host can have."""

import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.symptoms import SYMPTOMS
from tests.provisioning.service import CURRENT, Service

pytestmark = pytest.mark.timeout(600)

CHECK = "sudo /opt/sagemaker-proxy/as-service check"
STATE = "/var/lib/sagemaker-proxy"


def check(service: Service) -> tuple[int, str]:
    """The exit status and the table, as an operator gets them."""
    done = service.host.run(CHECK, user=service.host.user, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def running(service: Service) -> Service:
    service.wait_until(lambda: ": 2 of 2 workers serve; " in service.show("StatusText"), 60)
    return service


@contextmanager
def closed_from_outside(service: Service) -> Iterator[None]:
    """The service's answers get as far as a security group lets them: nowhere."""
    rule = ["ipproto", "tcp", "sport", "8000", "priority", "100", "blackhole"]
    line = ["ip", "-netns", service.host.namespace, "rule"]
    subprocess.run([*line, "add", *rule], check=True)
    yield
    subprocess.run([*line, "delete", *rule], check=True)


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")
def test_a_port_that_is_closed_outside_is_found_by_calling_from_there(running: Service) -> None:
    symptom = SYMPTOMS["no connection within seconds"]
    line = symptom.command.replace("HOST", running.host.address).replace("-m 5", "-m 2")
    open_to_all = subprocess.run(shlex.split(line), capture_output=True, text=True)
    assert open_to_all.stdout == '{"status":"ok"}'
    with closed_from_outside(running):
        closed = subprocess.run(shlex.split(line), capture_output=True, text=True)
    assert symptom.says[0] == "curl: (28)"
    assert symptom.says[0] in closed.stderr


def test_a_service_that_is_well_is_found_to_be(running: Service) -> None:
    status, table = check(running)
    assert status == 0, table
    for told in (
        "/etc/sagemaker-proxy/config.toml can be used",
        "good keys: default",
        SYMPTOMS["no connection within seconds"].says[2],
        "service       ok       ready",
        "open files    ok",
        " (process ",
        f"state: {STATE} has ",
        "figures: /run/sagemaker-proxy has ",
        "the instance's role (metadata service); good until",
    ):
        assert told in table, table
    assert "failed" not in table


def test_who_may_not_read_the_settings_is_told_so(running: Service) -> None:
    line = f"{CURRENT}/bin/sagemaker-proxy check"
    done = running.host.run(line, user=running.host.user, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "config.toml: cannot be read: Permission denied" in done.stdout
    assert CHECK in done.stdout


def test_what_is_wrong_with_a_host_is_told_all_at_once(running: Service) -> None:
    """A service that was stopped, a full disk, and keys that it may not read."""
    keys = "/etc/sagemaker-proxy/keys.toml"
    running.host.run(
        "systemctl stop sagemaker-proxy.socket sagemaker-proxy.service && "
        f"mount -t tmpfs -o size=64k,mode=0700,uid=sagemaker-proxy tmpfs {STATE} && "
        f"! cat /dev/zero > {STATE}/full && chmod 0600 {keys}"
    )
    try:
        status, table = check(running)
    finally:
        running.host.run(f"umount {STATE}; chmod 0640 {keys}; systemctl start sagemaker-proxy")
    assert status == 1
    assert f"{keys}: cannot be read: Permission denied" in table
    assert SYMPTOMS["anything, and the log has stopped"].is_told_by(table), table
    assert SYMPTOMS["connection refused"].is_told_by(table), table
    assert "systemctl start sagemaker-proxy" in table
    assert running.models()


def test_a_key_that_nobody_knows_is_found_to_be_none_of_those_of_the_host(
    running: Service,
) -> None:
    line = SYMPTOMS["401 `invalid_api_key`, and `check` knows no such key"].command
    user = running.host.user
    known = running.host.run(line, user=user, stdin=f"{running.key}\n")
    assert "sha256" in known.stdout
    unknown = running.host.run(line, user=user, stdin=f"{uuid.uuid4()}\n", check=False)
    assert (unknown.returncode, unknown.stdout) == (1, "")
