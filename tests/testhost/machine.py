"""What a machine needs in order to run test hosts, and how it gets there."""

import os
import platform
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

from tests.testhost import cgroup, commands, locks

# A program or a file that tells whether a Debian package is there.
_TOOLS = {
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "rpmbuild": "rpm",
    "createrepo_c": "createrepo-c",
    "ip": "iproute2",
    "pebble": "pebble",
    "pebble-challtestsrv": "pebble",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
_ENVIRONMENT = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def why_not() -> str | None:
    """Say in a line why this machine can't run test hosts; None if it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "test hosts need root"
    if shutil.which("apt-get") is None or not _is_debian():
        return "test hosts need Debian, or a relative of it"
    try:
        cgroup.mount_point()
    except FileNotFoundError as exc:
        return f"test hosts need control groups: {exc}"
    allowed = subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True)
    if allowed.returncode:
        return f"test hosts need namespaces: {allowed.stderr.decode().strip()}"
    missing = _missing()
    with _alone():
        installable = not missing or _are_installable(missing)
    if not installable:
        return f"test hosts need {' '.join(missing)}, which apt-get does not find"
    return None


def install_tools() -> None:
    """Install what is missing, if anything is."""
    with _alone():
        missing = _missing()
        if not missing:
            return
        install = ["install", "--yes", "--no-install-recommends", *missing]
        try:
            _apt_get(*install)
        except commands.Failed:
            # Package lists that are old name packages that are gone.
            _apt_get("update")
            _apt_get(*install)


def provide(program: str, package: str) -> str | None:
    """Have `program` here, from a Debian package if need be; else why not, in a line."""
    with _alone():
        if shutil.which(program):
            return None
        if os.geteuid() != 0 or not _is_debian() or not _are_installable([package]):
            return f"{program} is not here, and cannot be installed from Debian's {package}"
        _apt_get("install", "--yes", "--no-install-recommends", package)
    return None


def _alone() -> AbstractContextManager[None]:
    """One process at a time: several workers of pytest may come to this at once."""
    return locks.exclusively(Path(__file__).parent)


def _missing() -> list[str]:
    missing = {
        package
        for name, package in _TOOLS.items()
        if not (Path(name).exists() if name.startswith("/") else shutil.which(name))
    }
    return sorted(missing)


def _are_installable(packages: list[str]) -> bool:
    simulate = ["install", "--simulate", "--no-install-recommends", *packages]
    try:
        _apt_get(*simulate)
    except commands.Failed:
        try:
            _apt_get("update")
            _apt_get(*simulate)
        except commands.Failed:
            return False
    return True


def _apt_get(*arguments: str) -> None:
    # The machine may be busy with updates of its own.
    patient = ["--quiet", "--option", "DPkg::Lock::Timeout=300"]
    commands.run(["apt-get", *patient, *arguments], environment=_ENVIRONMENT)


def _is_debian() -> bool:
    try:
        about = platform.freedesktop_os_release()
    except OSError:
        return False
    return "debian" in (about["ID"], *about.get("ID_LIKE", "").split())
