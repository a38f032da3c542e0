"""The test host itself: what it is, that it can be reached, and that nothing is left of it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.testhost.host import Host
from tests.testhost.image import Image
from tests.testhost.playbook import play
from tests.testhost.ssh import CommandFailed

FACTS = """
- hosts: all
  tasks:
    - name: Show what the roles decide by
      ansible.builtin.debug:
        msg: "{{ ansible_facts.distribution }} {{ ansible_facts.distribution_major_version }}
          {{ ansible_facts.os_family }} {{ ansible_facts.pkg_mgr }} {{ ansible_facts.service_mgr }}"
    - name: Install a package
      become: true
      ansible.builtin.dnf:
        name: python3.11
    - name: Write what was given
      become: true
      ansible.builtin.copy:
        content: "{{ secret }}"
        dest: /root/given
        mode: "0600"
"""


@pytest.fixture(scope="module")
def host(image: Image) -> Iterator[Host]:
    with Host("fresh", image) as host:
        yield host


def test_it_is_amazon_linux_2023_for_ansible(host: Host, tmp_path: Path) -> None:
    playbook = tmp_path / "facts.yml"
    playbook.write_text(FACTS)
    given = {"secret": "not on the command line"}
    outcome = play(host, str(playbook), variables=given, check=True, diff=True)
    assert outcome.changed_tasks == ["Install a package", "Write what was given"]
    outcome = play(host, str(playbook), variables=given)
    assert "Amazon 2023 RedHat dnf systemd" in outcome.output
    assert (outcome.ok, outcome.changed, outcome.failed, outcome.unreachable) == (4, 2, 0, 0)
    assert host.run("cat /root/given").stdout == given["secret"]
    assert play(host, str(playbook), variables=given).changed == 0


def test_a_play_that_fails_is_an_error_unless_expected(host: Host, tmp_path: Path) -> None:
    playbook = tmp_path / "fail.yml"
    playbook.write_text("- hosts: all\n  tasks: [{ansible.builtin.fail: {msg: as it should}}]\n")
    with pytest.raises(AssertionError, match="as it should"):
        play(host, str(playbook))
    assert play(host, str(playbook), ok=False).failed == 1


def test_python_and_openssl_come_with_their_packages_alone(image: Image) -> None:
    with Host("bare", image) as host:
        assert host.run("command -v python3.11 openssl", check=False).stdout == ""
        assert host.run("python3 --version").stdout.startswith("Python 3")
        found = host.run("dnf -q repoquery --queryformat '%{name}\n' | sort").stdout
        assert found.split() == ["openssl", "python3.11", "python3.11-pip", "system-release"]
        host.run("dnf -q -y install python3.11 openssl")
        host.run("openssl version")
        host.run("python3.11 -m venv /opt/venv && /opt/venv/bin/python -m pip --version")


def test_all_units_are_well(host: Host) -> None:
    assert host.run("systemctl is-system-running").stdout == "running\n"


def test_commands_run_as_either_user(host: Host) -> None:
    assert host.run("id -un").stdout == "root\n"
    assert host.run("id -un; sudo -n id -un", user="ec2-user").stdout == "ec2-user\nroot\n"
    with pytest.raises(CommandFailed, match="not here"):
        host.run("echo not here >&2; exit 3")


def test_it_is_reached_from_outside(host: Host) -> None:
    url = f"http://{host.address}:8000/repodata/repomd.xml"
    serve = f"python3 -m http.server --bind {host.address} --directory /usr/share/amazonlinux 8000"
    host.run(f"systemd-run --quiet --property=DynamicUser=yes {serve}")
    host.run(f"until curl --silent --output /dev/null {url}; do sleep 0.02; done")
    with requests.Session() as session:
        session.trust_env = False  # no proxy
        assert "<repomd" in session.get(url, timeout=5).text


def test_a_reboot_keeps_files_and_the_journal(host: Host) -> None:
    host.run("echo kept > /var/lib/kept; logger -t testhost before the reboot")
    before = host.boot_id()
    host.reboot()
    assert host.boot_id() != before
    assert host.run("cat /var/lib/kept").stdout == "kept\n"
    earlier = host.run("journalctl --quiet --boot=-1 --identifier=testhost --output=cat").stdout
    assert earlier == "before the reboot\n"


def test_two_run_side_by_side_and_see_what_is_bound(image: Image, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("from outside")
    with (
        Host("first", image) as first,
        Host("second", image, bind={str(tmp_path): "/mnt/notes"}) as second,
    ):
        assert first.address != second.address
        assert first.run("hostname").stdout == "first\n"
        assert second.run("hostname").stdout == "second\n"
        assert second.run("cat /mnt/notes/note").stdout == "from outside"
        second.run("! touch /mnt/notes/another 2>/dev/null")
        assert first.run("ls /mnt").stdout == ""


def processes() -> str:
    """The command lines of all that runs."""
    return subprocess.run(
        ["ps", "-ewwo", "args"], capture_output=True, text=True, check=True
    ).stdout


def traces(host: Host) -> list[str]:
    """All that has the name of a host's namespace, which is that of its control group too."""
    name = host.namespace
    found = [line for line in Path("/proc/self/mounts").read_text().splitlines() if name in line]
    for directory in ("/sys/fs/cgroup", "/run/netns", "/run/systemd", "/sys/class/net"):
        found += [str(path) for path in Path(directory).glob(f"**/{name}")]
    links = ["ip", "-brief", "address", "show", "to", f"{host.address}/30"]
    found += subprocess.run(links, capture_output=True, text=True, check=True).stdout.splitlines()
    found += [line for line in processes().splitlines() if name in line]
    return [*found, *([str(host.directory)] if host.directory.exists() else [])]


def test_nothing_is_left_of_it(image: Image) -> None:
    with Host("gone", image) as host:
        left = host.inside(["sleep", "600"])
        assert len(traces(host)) > 4
    assert left.returncode is not None
    assert traces(host) == []


def test_nothing_is_left_of_one_that_does_not_boot(image: Image) -> None:
    host = Host("broken", image, bind={"/does/not/exist": "/mnt"})
    with pytest.raises(RuntimeError, match="/does/not/exist"), host:
        pass
    assert traces(host) == []


def test_what_a_killed_run_left_is_cleared_up_by_the_next(image: Image) -> None:
    line = [sys.executable, "-m", "tests.testhost.host", "orphan"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        run.stdout.readline()  # it is up
        run.kill()
    assert "--hostname=orphan" in processes()
    with Host("next", image):
        assert "--hostname=orphan" not in processes()
