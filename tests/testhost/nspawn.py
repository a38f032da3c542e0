"""Boots a root file system by systemd-nspawn, as often as the system in it wants to reboot."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.testhost.cgroup import mount_point
from tests.testhost.claims import Claim

# Runs in a mount namespace of its own, and its mounts end with it. What the host writes is in
# memory, and so is what nspawn notes about it. There systemd finds control groups of version 2
# alone, as on Amazon Linux, even if the machine outside has both versions. Status 133 is nspawn's
# for "reboot".
_SCRIPT = """
set -eu
lower=$1 directory=$2 hierarchy=$3 group=$4
shift 4
if [ "$hierarchy" != /sys/fs/cgroup ]; then
    umount --recursive /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
mkdir -p /run/systemd/nspawn "$directory/memory" "$directory/root"
mount -t tmpfs -o mode=0755 testhost /run/systemd/nspawn
mount -t tmpfs -o mode=0755 testhost "$directory/memory"
mkdir "$directory/memory/upper" "$directory/memory/work"
mount -t overlay -o "lowerdir=$lower,upperdir=$directory/memory/upper" \
    -o "workdir=$directory/memory/work" testhost "$directory/root"
status=133
while [ "$status" = 133 ]; do
    status=0
    (echo 0 >"/sys/fs/cgroup/$group/cgroup.procs"; exec "$@") || status=$?
    echo "systemd-nspawn ended with status $status"
done
exit "$status"
"""

HELPERS = "helpers"  # the control group of the processes outside
_MACHINE = "machine"  # and that of the host's own


class Machine:
    """A running root file system; what is written to it is gone in the end."""

    def __init__(self, hostname: str, root: Path, claim: Claim, bind: Mapping[str, str]) -> None:
        claim.control_group.create(HELPERS, _MACHINE)
        self._console = claim.directory / "console.log"
        nspawn = [
            "systemd-nspawn",
            "--quiet",
            "--settings=no",
            "--boot",
            "--register=no",
            "--keep-unit",
            f"--machine={claim.machine}",
            f"--hostname={hostname}",
            f"--directory={claim.directory}/root",
            f"--network-namespace-path={claim.network.path}",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=pipe",
            *(f"--bind-ro={_escaped(here)}:{_escaped(there)}" for here, there in bind.items()),
        ]
        script = [
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", _SCRIPT, "sh"),
            *(str(root), str(claim.directory), str(mount_point())),
            f"{claim.machine}/{_MACHINE}",
        ]
        with self._console.open("wb") as console:
            self.process = subprocess.Popen(
                claim.control_group.command(HELPERS, [*script, *nspawn]),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def end_of_console(self) -> str:
        """What it said last."""
        lines = self._console.read_text(errors="replace").splitlines()[-20:]
        return "\n".join(lines)


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")
