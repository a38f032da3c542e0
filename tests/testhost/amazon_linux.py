"""Dresses a Debian root file system as Amazon Linux 2023, as far as Ansible looks."""

from pathlib import Path

from tests.testhost import commands, packages

_REPOSITORY = "/usr/share/amazonlinux"
_PYTHON = "python3.11"

_REPOSITORY_FILE = f"""\
[amazonlinux]
name=Amazon Linux 2023 stand-in
baseurl=file://{_REPOSITORY}
gpgcheck=0
enabled=1
"""
_SUDOERS = """\
Defaults secure_path = /sbin:/bin:/usr/sbin:/usr/bin
ec2-user ALL=(ALL) NOPASSWD:ALL
"""
_SSHD = """\
MaxSessions 100
PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
"""

# What Amazon Linux does not have and Ansible would notice, or what would change the host unasked.
_DEBIAN_ONLY = (
    *("usr/bin/apt", "usr/bin/apt-cache", "usr/bin/apt-get", "usr/bin/dpkg", "usr/bin/dpkg-query"),
    *("etc/debian_version", "etc/os-release", "usr/lib/os-release"),
    f"usr/lib/{_PYTHON}/EXTERNALLY-MANAGED",
)
_UNWANTED_UNITS = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer"),
    *("console-getty.service", "getty.target", "systemd-networkd.service"),
)


def dress(root: Path, work: Path, login_key: str) -> None:
    """Turn a Debian into the stand-in; `login_key` may log in as root and as ec2-user."""
    _settle(root)
    _park_programs(root)
    for name in _DEBIAN_ONLY:
        (root / name).unlink(missing_ok=True)
    _add_users(root, login_key)
    packages.build(work, root / _REPOSITORY.lstrip("/"))
    _write(root / "etc/yum.repos.d/amazonlinux.repo", _REPOSITORY_FILE)
    _write(root / "etc/rpm/macros", "%_dbpath /var/lib/rpm\n")
    _inside(root, "dnf", "--quiet", "--assumeyes", "install", "system-release")
    (root / "usr/lib/os-release").symlink_to("../../etc/os-release")


def _settle(root: Path) -> None:
    """What any image wants: no identity, a lasting journal, no units without a purpose here."""
    _write(root / "etc/machine-id", "")
    (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    (root / "var/log/journal").mkdir(exist_ok=True)
    (root / "etc/hostname").unlink(missing_ok=True)
    _write(root / "etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    _write(root / "etc/resolv.conf", "")
    for name in ("etc/locale.conf", "etc/default/locale"):
        _write(root / name, "LANG=C.UTF-8\n")
    _write(root / "etc/ssh/sshd_config.d/testhost.conf", _SSHD)
    (root / "usr/bin/sh").unlink()
    (root / "usr/bin/sh").symlink_to("bash")
    _inside(root, "systemctl", "--quiet", "mask", *_UNWANTED_UNITS)
    _inside(root, "systemctl", "--quiet", "enable", "ssh.service")


def _park_programs(root: Path) -> None:
    """Put away what only a package may bring; the system's own Python is python3."""
    parked = root / packages.PARKED.lstrip("/")
    parked.mkdir()
    for name in (_PYTHON, "openssl"):
        (root / "usr/bin" / name).rename(parked / name)
    (root / "usr/bin/python3").unlink()
    (root / "usr/bin/python3").symlink_to(f"{packages.PARKED}/{_PYTHON}")
    (wheel,) = (root / "usr/share/python-wheels").glob("pip-*.whl")
    code = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])"
    archive = f"/{wheel.relative_to(root)}"
    _inside(root, "python3", "-c", code, archive, packages.PARKED)


def _add_users(root: Path, login_key: str) -> None:
    _inside(root, "groupadd", "--system", "wheel")
    groups = "--groups=adm,wheel,systemd-journal"
    _inside(root, "useradd", "--create-home", "--shell=/bin/bash", groups, "ec2-user")
    _write(root / "etc/sudoers.d/90-cloud-init-users", _SUDOERS, 0o440)
    for home in ("root", "home/ec2-user"):
        _write(root / home / ".ssh/authorized_keys", login_key, 0o600)
        (root / home / ".ssh").chmod(0o700)
    _inside(root, "chown", "--recursive", "ec2-user:", "/home/ec2-user/.ssh")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _inside(root: Path, *command: str) -> None:
    """Run a command with the file system as its root, and nothing left mounted whatever happens."""
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    line = [*namespaces, f"--root={root}", "--mount-proc", "--", *command]
    commands.run(line, environment={"PATH": "/usr/sbin:/usr/bin", "LANG": "C.UTF-8"})
