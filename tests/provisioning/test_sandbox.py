"""What the unit says it forbids is forbidden: each directive that can be proved is tried."""

import json
import shlex
from pathlib import Path

import pytest

from tests.provisioning import sandbox_probe
from tests.provisioning.service import CURRENT, UNIT, Service

pytestmark = pytest.mark.timeout(600)

# Of the unit, what makes its sandbox; the rest says what to run, and when.
NO_SANDBOX = (
    *("Exec", "Type", "Environment", "Watchdog", "Restart=", "RestartSec", "Timeout", "Kill"),
    *("OOM", "Log", "StateDirectory", "RuntimeDirectory", "SyslogIdentifier", "MemoryMax"),
    *("MemoryHigh", "Tasks"),
)

PROBES = (
    "CapabilityBoundingSet",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "PrivateDevices",
    "PrivateTmp",
    "PrivateUsers",
    "ProcSubset",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SystemCallFilter",
    "UMask",
    "User",
)


def run(service: Service, properties: list[str]) -> dict[str, bool]:
    service.host.run("touch /tmp/outside")
    command = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect"]
    command += [f"--property={each}" for each in properties]
    command += [f"{CURRENT}/bin/python", "-"]
    source = Path(sandbox_probe.__file__).read_text()
    stopped: dict[str, bool] = json.loads(
        service.host.run(shlex.join(command), stdin=source).stdout
    )
    return stopped


@pytest.fixture(scope="module")
def stopped(service: Service) -> dict[str, bool]:
    unit = service.host.run(f"cat /etc/systemd/system/{UNIT}").stdout
    section = unit.partition("[Service]\n")[2].partition("[Install]")[0]
    lines = [line for line in section.splitlines() if line and not line.startswith("#")]
    return run(service, [line for line in lines if not line.startswith(NO_SANDBOX)])


@pytest.mark.parametrize("directive", PROBES)
def test_it_is_enforced(stopped: dict[str, bool], directive: str) -> None:
    assert stopped[directive]


def test_the_probes_find_what_is_allowed_without_the_sandbox(service: Service) -> None:
    allowed = {name for name, was_stopped in run(service, []).items() if not was_stopped}
    # As root in a container, which is no sandbox of ours: some of it is refused all the same.
    assert {"ProtectSystem", "PrivateTmp", "ProtectHome", "MemoryDenyWriteExecute"} <= allowed
    assert {"RestrictAddressFamilies", "RestrictSUIDSGID", "RestrictNamespaces"} <= allowed
    assert {"NoNewPrivileges", "CapabilityBoundingSet", "ProtectProc", "UMask", "User"} <= allowed


def test_the_service_itself_runs_in_it(service: Service) -> None:
    for pid in (int(service.show("MainPID")), *service.workers()):
        status = service.host.run(f"cat /proc/{pid}/status").stdout
        assert "NoNewPrivs:\t1" in status
        assert "CapBnd:\t0000000000000000" in status
        assert "Seccomp:\t2" in status


def test_its_exposure_is_low(service: Service) -> None:
    line = f"systemd-analyze security --no-pager --threshold=15 {UNIT}"
    assert service.host.run(line, check=False).returncode == 0
