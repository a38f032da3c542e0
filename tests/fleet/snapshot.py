"""The image of a host that has been provisioned, from which others boot in no time."""

from dataclasses import dataclass
from pathlib import Path

from tests.testhost import commands
from tests.testhost.host import Host
from tests.testhost.image import Image

# What each host has for itself. An empty machine-id is filled at boot.
_IDENTITY = ("var/log/journal", "var/lib/sagemaker-proxy", "var/lib/systemd/random-seed")


@dataclass(frozen=True)
class Snapshot(Image):
    """A folder with what a host has written, over the image that it was booted from."""

    base: Image

    @property
    def root(self) -> Path:
        """Both, as overlayfs is told them."""
        return Path(f"{self.directory}:{self.base.root}")

    @property
    def private_key(self) -> Path:
        """What logs in as root and as ec2-user."""
        return self.base.private_key

    @property
    def host_key(self) -> str:
        """The public key that every host of the image has."""
        return self.base.host_key


def take(host: Host, base: Image, directory: Path) -> Snapshot:
    """Copy what a host of the image `base` has written, but for what tells it from others."""
    commands.run(["cp", "--archive", "--reflink=auto", f"{host.written()}/.", str(directory)])
    for name in _IDENTITY:
        commands.run(["rm", "-rf", str(directory / name)])
    (directory / "etc/machine-id").write_text("")
    return Snapshot(directory, base)
