"""A host's network namespace, and the cable between it and the machine outside."""

from pathlib import Path

from tests.testhost import commands

LARGEST = 254  # so many numbers, and so many hosts at once, are there


class Network:
    """10.77.N.0/30, with the host at .2 and the machine outside at .1."""

    def __init__(self, number: int) -> None:
        self.namespace = f"sagemaker-testhost-{number}"
        self.address = f"10.77.{number}.2"
        self.outside = f"10.77.{number}.1"
        self._cable = f"smtesthost{number}"

    @property
    def path(self) -> Path:
        """The file that stands for the namespace."""
        return Path("/run/netns") / self.namespace

    def is_taken(self) -> bool:
        """Whether something on this machine has the addresses already."""
        listed = _ip("-oneline", "-4", "address", "show")
        return f" {self.outside}/" in listed or f" {self.address}/" in listed

    def create(self) -> None:
        """Make the namespace and plug both ends of the cable in."""
        _ip(
            "-batch",
            "-",
            script=f"""
                netns add {self.namespace}
                link add {self._cable} type veth peer name host0 netns {self.namespace}
                address add {self.outside}/30 dev {self._cable}
                link set {self._cable} up
            """,
        )
        _ip(
            "-netns",
            self.namespace,
            "-batch",
            "-",
            script=f"""
                link set lo up
                address add {self.address}/30 dev host0
                link set host0 up
                route add default via {self.outside}
            """,
        )

    def delete(self) -> None:
        """Remove what there is of it."""
        # The cable first: the kernel takes its time to end one with its namespace.
        if Path("/sys/class/net", self._cable).exists():
            _ip("link", "delete", self._cable)
        if self.path.exists():
            _ip("netns", "delete", self.namespace)


def _ip(*arguments: str, script: str = "") -> str:
    return commands.run(["ip", *arguments], stdin=script)
