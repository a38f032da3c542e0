"""`deploy.yml` touches the stack's host and no other."""

import subprocess
import sys
from pathlib import Path

from tests.cloudformation.commands import ROOT

INVENTORY = "elsewhere\n[sagemaker_proxy]\nanother\n[sagemaker_proxy_stack]\nof-the-stack\n"


def hosts(playbook: str, inventory: Path) -> list[str]:
    """The hosts of each play in turn."""
    ansible = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [ansible, "--list-hosts", "-i", str(inventory), f"playbooks/{playbook}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    indented = [line.strip() for line in done.stdout.splitlines() if line.startswith(" " * 6)]
    return [line for line in indented if " " not in line]


def test_it_touches_the_stacks_host_alone(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(INVENTORY)
    assert hosts("deploy.yml", inventory) == ["localhost", *["of-the-stack"] * 4]


def test_site_yml_still_means_every_host(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(INVENTORY)
    assert sorted(hosts("site.yml", inventory)) == ["another", "elsewhere", "of-the-stack"]
