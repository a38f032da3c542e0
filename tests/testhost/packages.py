"""The RPMs that stand in for Amazon Linux 2023's, in a repository for dnf."""

from dataclasses import dataclass
from pathlib import Path

from tests.testhost import commands

# Where the real programs wait until the package that brings them is installed.
PARKED = "/usr/libexec/standin"

SYSTEM_VERSION = "2023.7.20250512"

OS_RELEASE = f"""\
NAME="Amazon Linux"
VERSION="2023"
ID="amzn"
ID_LIKE="fedora"
VERSION_ID="2023"
PLATFORM_ID="platform:al2023"
PRETTY_NAME="Amazon Linux {SYSTEM_VERSION}"
CPE_NAME="cpe:2.3:o:amazon:amazon_linux:2023"
HOME_URL="https://aws.amazon.com/linux/amazon-linux-2023/"
"""


@dataclass(frozen=True)
class Package:
    """A package with a few text files and links, by their absolute paths."""

    name: str
    version: str
    release: str
    epoch: int = 0
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()  # what begins with #! is a program
    links: tuple[tuple[str, str], ...] = ()

    def spec(self) -> str:
        """The file that rpmbuild makes it from."""
        lines = [
            f"Name: {self.name}",
            f"Version: {self.version}",
            f"Release: {self.release}",
            f"Epoch: {self.epoch}" if self.epoch else "",
            f"Summary: A stand-in for Amazon Linux's {self.name}",
            "License: MIT",
            "BuildArch: noarch",
            "AutoReqProv: no",
            *(f"Requires: {name}" for name in self.requires),
            *(f"Provides: {name}" for name in self.provides),
            "%description",
            "It makes a test host look like Amazon Linux.",
            "%install",
            "cp -a %{contents}/. %{buildroot}",
            "%files",
            *(path for path, _ in (*self.files, *self.links)),
        ]
        return "\n".join(lines) + "\n"

    def write_contents(self, root: Path) -> None:
        """Write the files and links below a directory."""
        root.mkdir(parents=True)
        for path, text in self.files:
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if text.startswith("#!") else 0o644)
        for path, target in self.links:
            link = root / path.lstrip("/")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)


PACKAGES = (
    Package(
        "system-release",
        SYSTEM_VERSION,
        "0.amzn2023",
        provides=(
            f"system-release(releasever) = {SYSTEM_VERSION}",
            # Debian's, but no package here says so
            *("/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/bash"),
        ),
        files=(
            ("/etc/os-release", OS_RELEASE),
            ("/etc/system-release", f"Amazon Linux release {SYSTEM_VERSION} (Amazon Linux)\n"),
        ),
    ),
    Package(
        "python3.11",
        "3.11.6",
        "1.amzn2023.0.8",
        requires=("system-release",),
        links=(("/usr/bin/python3.11", f"{PARKED}/python3.11"),),
    ),
    Package(
        "python3.11-pip",
        "22.3.1",
        "2.amzn2023.0.3",
        requires=("python3.11",),
        files=(("/usr/bin/pip3.11", '#!/bin/sh\nexec /usr/bin/python3.11 -m pip "$@"\n'),),
        links=(("/usr/lib/python3/dist-packages/pip", f"{PARKED}/pip"),),
    ),
    Package(
        "openssl",
        "3.0.8",
        "1.amzn2023.0.22",
        epoch=1,
        requires=("system-release",),
        links=(("/usr/bin/openssl", f"{PARKED}/openssl"),),
    ),
)


def build(work: Path, repository: Path) -> None:
    """Build every package into a repository, using a directory to work in."""
    for package in PACKAGES:
        contents = work / package.name / "contents"
        package.write_contents(contents)
        spec = work / f"{package.name}.spec"
        spec.write_text(package.spec())
        definitions = {
            "_topdir": work,
            "_rpmdir": repository,
            "contents": contents,
            "_build_id_links": "none",
            "_buildhost": "localhost",
            "__os_install_post": "%{nil}",
        }
        defined = [f"--define={name} {value}" for name, value in definitions.items()]
        commands.run(["rpmbuild", "-bb", "--quiet", *defined, str(spec)])
    commands.run(["createrepo_c", "--quiet", str(repository)])
