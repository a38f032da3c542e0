"""The image that test hosts boot, built once and cached: python -m tests.testhost.image."""

import functools
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.testhost import amazon_linux, commands, debian, locks, packages
from tests.testhost.machine import install_tools

_RECIPE = (__file__, amazon_linux.__file__, debian.__file__, packages.__file__)
_BUILDING = ".building"


@dataclass(frozen=True)
class Image:
    """A directory with a root file system that nobody may change, and what opens its doors."""

    directory: Path

    @property
    def root(self) -> Path:
        """The root file system."""
        return self.directory / "root"

    @property
    def private_key(self) -> Path:
        """What logs in as root and as ec2-user."""
        return self.directory / "login"

    @functools.cached_property
    def host_key(self) -> str:
        """The public key that every host of the image has."""
        return (self.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().strip()


def image(say: Callable[[str], None] = lambda line: None) -> Image:
    """Return the image, built first if need be; it stays as long as this process does."""
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    directory = cache / _recipe()
    with locks.exclusively(cache):
        if not directory.exists():
            say(f"building the test host's image in {directory}, once")
            started = time.monotonic()
            _build(directory, say)
            say(f"the image is ready after {time.monotonic() - started:.0f} s")
            _remove_others(directory)
        # Held for good: who removes old images has to see that this one is in use.
        locks.hold(directory, shared=True)
    return Image(directory)


def _build(directory: Path, say: Callable[[str], None]) -> None:
    building = directory.with_suffix(_BUILDING)
    _remove(building)
    building.mkdir(mode=0o700)
    result = Image(building)
    debian.install(result.root, say)
    say("dressing it as Amazon Linux 2023")
    line = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "testhost", "-f"]
    commands.run([*line, str(result.private_key)])
    login_key = result.private_key.with_suffix(".pub").read_text()
    work = building / "work"
    amazon_linux.dress(result.root, work, login_key)
    _remove(work)
    building.rename(directory)


def _remove_others(directory: Path) -> None:
    for other in directory.parent.iterdir():
        lock = None if other == directory else locks.hold(other)
        if lock is not None:
            _remove(other)
            os.close(lock)


def _remove(directory: Path) -> None:
    commands.run(["rm", "-rf", "--one-file-system", str(directory)])


def _recipe() -> str:
    content = b"".join(Path(each).read_bytes() for each in _RECIPE)
    return hashlib.sha256(content).hexdigest()[:16]


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "sagemaker-proxy", "testhost")


if __name__ == "__main__":
    install_tools()
    print(image(say=print).directory)
