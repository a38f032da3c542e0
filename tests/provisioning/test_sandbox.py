"""What the unit says it forbids is forbidden, and so is what an attacker inside would try."""

import json
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.provisioning import intruder, sandbox_probe
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


# How the kernel, or what hides a file, says no.
REFUSALS = {"EACCES", "EPERM", "EROFS", "ENOENT", "EAFNOSUPPORT"}

# The service may write to these. As the state folder, they are there for a unit that asks; the
# runtime folder is the running service's own, and would be gone with another unit that has it.
STATE = ("StateDirectory=sagemaker-proxy", "StateDirectoryMode=0700")
WRITABLE = (*STATE, "ReadWritePaths=/run/sagemaker-proxy")


def run(service: Service, properties: list[str], program: ModuleType) -> dict[str, Any]:
    service.host.run(
        "touch /tmp/outside; mkdir -p /var/lib/another; "
        "cd /var/lib/another; touch secret; chmod 0600 secret; mkdir -p /home/somebody"
    )
    command = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect"]
    command += [f"--property={each}" for each in properties]
    command += [f"{CURRENT}/bin/python", "-"]
    source = Path(program.__file__ or "").read_text()
    found: dict[str, Any] = json.loads(service.host.run(shlex.join(command), stdin=source).stdout)
    return found


@pytest.fixture(scope="module")
def sandbox(service: Service) -> list[str]:
    """The directives of the unit that make its sandbox."""
    unit = service.host.run(f"cat /etc/systemd/system/{UNIT}").stdout
    section = unit.partition("[Service]\n")[2].partition("[Install]")[0]
    lines = [line for line in section.splitlines() if line and not line.startswith("#")]
    return [line for line in lines if not line.startswith(NO_SANDBOX)]


@pytest.fixture(scope="module")
def stopped(service: Service, sandbox: list[str]) -> dict[str, bool]:
    return run(service, sandbox, sandbox_probe)


@pytest.fixture(scope="module")
def attacked(service: Service, sandbox: list[str]) -> dict[str, str]:
    """What an attacker with code execution in the service has come to, by deed."""
    return run(service, [*sandbox, *WRITABLE], intruder)


@pytest.mark.parametrize("deed", intruder.DEEDS)
def test_an_attacker_inside_cannot(attacked: dict[str, str], deed: str) -> None:
    assert attacked[deed] in REFUSALS


def test_a_user_without_the_sandbox_could(service: Service) -> None:
    found = run(service, ["User=sagemaker-proxy", *STATE], intruder)
    done = {deed for deed, outcome in found.items() if outcome == "done"}
    assert {"run a program of its own", "load a library of its own"} <= done
    assert {"run a program from memory", "execute what it has written"} <= done
    assert {"read the homes", "configure the network", "have its own users"} <= done
    assert "dump core" in done
    # These have reached the kernel itself, which did not like what it was asked.
    asked = {deed for deed, outcome in found.items() if outcome not in {"done", *REFUSALS}}
    assert {"trace a process", "queue system calls past the filter", "mount a file system"} <= asked


def test_no_key_is_on_the_host(service: Service) -> None:
    service.host.run("journalctl --no-pager --output=export > /run/journal")
    places = "/etc /home /opt/sagemaker-proxy /root /run /tmp /var"
    processes = "/proc/[0-9]*/environ /proc/[0-9]*/cmdline"
    line = "grep --recursive --no-messages --text --files-with-matches --fixed-strings --file=-"
    found = service.host.run(f"{line} {places} {processes}", stdin=f"{service.key}\n", check=False)
    service.host.run("rm /run/journal")
    assert found.stdout.splitlines() == []


def test_the_probes_find_what_is_allowed_without_the_sandbox(service: Service) -> None:
    found = run(service, [], sandbox_probe)
    allowed = {name for name, was_stopped in found.items() if not was_stopped}
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
        limits = service.host.run(f"cat /proc/{pid}/limits").stdout
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)


def test_its_exposure_is_low(service: Service) -> None:
    line = f"systemd-analyze security --no-pager --threshold=15 {UNIT}"
    assert service.host.run(line, check=False).returncode == 0
