"""Every variable of a role is in its argument specification, its README and the project's."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def defaults(role: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(
        (ROOT / "roles" / role / "defaults/main.yml").read_text()
    )
    return values


def test_the_roles_are_those_that_there_should_be() -> None:
    assert ROLES == ["api_keys", "certificates", "fleet", "proxy", "python"]


@pytest.mark.parametrize("role", ROLES)
def test_each_variable_bears_its_roles_name(role: str) -> None:
    assert all(name.startswith(f"{role}_") for name in defaults(role))


@pytest.mark.parametrize("role", ROLES)
def test_each_is_specified_with_its_default(role: str) -> None:
    specified = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())
    options = specified["argument_specs"]["main"]["options"]
    assert set(options) == set(defaults(role))
    for name, value in defaults(role).items():
        if "{{" not in str(value):
            assert options[name]["default"] == value, name


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("where", ["the role's README", "the project's README"])
def test_each_is_explained(role: str, where: str) -> None:
    folder = ROOT / "roles" / role if "role" in where else ROOT
    text = (folder / "README.md").read_text()
    assert [name for name in defaults(role) if f"`{name}`" not in text] == []
