"""The root file system that the test host's image starts from: a small Debian 12."""

from collections.abc import Callable
from pathlib import Path

from tests.testhost import commands

RELEASE = "bookworm"
_DEFAULT_MIRROR = "http://deb.debian.org/debian"

PACKAGES = (
    # an init system to log in to
    "systemd",
    "systemd-sysv",
    "dbus",
    "libpam-systemd",
    "libnss-myhostname",
    "libnss-systemd",
    "kmod",
    "openssh-server",
    "sudo",
    # what Amazon Linux has from the start
    "acl",
    "ca-certificates",
    "curl",
    "gpg",
    "iproute2",
    "procps",
    # its package manager
    "dnf",
    "rpm",
    # what the stand-in packages bring to light, and what Ansible's modules need
    "openssl",
    "python3",
    "python3-packaging",
    "python3-setuptools",
    "python3-venv",
)

# Nobody reads in there, and a crash of the machine outside may well spoil an image being built.
_DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
)


def install(root: Path, say: Callable[[str], None]) -> None:
    """Make the file system, from the mirror that this machine's apt uses."""
    command = [
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
        RELEASE,
        str(root),
        mirror(),
    ]
    say(f"{len(PACKAGES)} Debian packages with what they need, from {command[-1]}")
    # A mount namespace, so that no mount outlives an installation that is killed.
    commands.run(["unshare", "--mount", "--propagation", "private", "--", *command])


def mirror() -> str:
    """Where apt gets this release from."""
    listed = commands.run(["apt-get", "indextargets", "--format", "$(RELEASE) $(SITE)"])
    for target in listed.splitlines():
        release, _, site = target.partition(" ")
        if release == RELEASE:
            return site
    return _DEFAULT_MIRROR
