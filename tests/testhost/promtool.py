"""Prometheus' own checker of rules and metrics, out of Debian's package if it is not there.

The package itself is not installed: it would start a server.
"""

import os
import shutil
from pathlib import Path

from tests.testhost import commands, locks


class NoPromtool(Exception):
    """There is none, and this is why."""


def promtool() -> str:
    """The program's path. Raises ``NoPromtool``."""
    if found := shutil.which("promtool"):
        return found
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise NoPromtool("promtool (of Prometheus) is not installed, and this is no Debian")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(base, "sagemaker-proxy", "promtool")
    cache.mkdir(parents=True, exist_ok=True)
    program = cache / "usr/bin/promtool"
    with locks.exclusively(cache):
        if not program.exists():
            try:
                _unpack(cache)
            except commands.Failed as exc:
                reason = str(exc).splitlines()[-1]
                raise NoPromtool(f"Debian's package prometheus is not to be had: {reason}") from exc
    return str(program)


def _unpack(cache: Path) -> None:
    work = cache / "unpacking"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    download = ["env", "-C", str(work), "apt-get", "-qq", "download", "prometheus"]
    try:
        commands.run(download)
    except commands.Failed:
        # Package lists that are old name packages that are gone.
        commands.run(["apt-get", "-qq", "update"])
        commands.run(download)
    (package,) = work.glob("*.deb")
    commands.run(["dpkg-deb", "--extract", str(package), str(work)])
    (cache / "usr/bin").mkdir(parents=True, exist_ok=True)
    (work / "usr/bin/promtool").rename(cache / "usr/bin/promtool")
    shutil.rmtree(work)
