"""Removing the service leaves the host as it was before, but for the journal."""

import pytest

from tests.provisioning.service import Provision, Service

pytestmark = pytest.mark.timeout(600)

# What the system itself keeps changing, and the folder in which it keeps the state of timers.
NOT_OURS = "/proc /sys /run /tmp /var/tmp /var/log /var/cache /var/lib/dnf /var/lib/rpm /root /home"
NOT_OURS += " /var/lib/systemd/timers"


def files(service: Service) -> set[str]:
    prune = " ".join(f"-path {path} -prune -o" for path in NOT_OURS.split())
    return set(service.host.run(f"find / -xdev {prune} -print").stdout.splitlines())


def test_nothing_is_left_but_the_journal(boot: Provision) -> None:
    with boot("uninstalled") as service:
        before = files(service)
        service.play()
        assert service.models()
        assert len(files(service) - before) > 1000
        service.play("uninstall.yml")
        assert files(service) - before == set()
        seen = service.testinfra()
        assert not seen.user("sagemaker-proxy").exists
        assert not seen.package("python3.11").is_installed
        assert "sagemaker-proxy" not in service.host.run("systemctl list-unit-files").stdout
        assert not seen.socket("tcp://8000").is_listening
        assert "serving" in service.host.run("journalctl -u sagemaker-proxy").stdout
        assert service.play("uninstall.yml").changed_tasks == []
