"""What the README says of the stack is so, and the template has no finding."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cloudformation.commands import ROOT
from tests.cloudformation.template import read

README = (ROOT / "README.md").read_text().partition("\n## Deploy it to AWS\n")[2]
SECTION = README.partition("\n## ")[0]
VARIABLES: dict[str, str] = yaml.safe_load((ROOT / "playbooks/vars/stack.yml").read_text())[
    "stack_variables"
]


def table() -> dict[str, str]:
    """The variables of the section's table, with their defaults."""
    rows: dict[str, str] = {}
    for line in SECTION.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`(\w+)`", cells[0])
        if len(cells) == 3 and names:
            defaults = re.findall(r"`([^`]*)`", cells[1]) or [""] * len(names)
            rows.update(zip(names, defaults, strict=True))
    return rows


def parameter(name: str) -> dict[str, Any]:
    found: dict[str, Any] = read()["Parameters"][name]
    return found


def test_every_parameter_has_a_variable_but_those_of_the_latest_images() -> None:
    assert set(VARIABLES) == set(read()["Parameters"]) - {"LatestImageX86", "LatestImageArm"}


@pytest.mark.parametrize(("name", "variable"), VARIABLES.items())
def test_every_variable_is_in_the_table_with_the_templates_default(
    name: str, variable: str
) -> None:
    default = str(parameter(name).get("Default", ""))
    needed = "Default" not in parameter(name)
    assert table()[variable] == (default if default or needed else '""')


def test_every_variable_of_the_table_is_read() -> None:
    files = [path for path in (ROOT / "playbooks").rglob("*stack*") if path.is_file()]
    text = "".join(path.read_text() for path in files)
    assert [name for name in table() if not re.search(rf"\b{name}\b", text)] == []


def test_cfn_lint_finds_nothing() -> None:
    cfn_lint = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([cfn_lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
