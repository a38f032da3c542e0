"""What an update of a stack would do to its resources, by AWS's own description of their types."""

from dataclasses import dataclass, field
from typing import Any, Literal

from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

Recreation = Literal["Always", "Conditionally", "Never"]


@dataclass(frozen=True)
class Change:
    """One entry of a change set, named as moto sends it."""

    action: Literal["Add", "Modify", "Remove"]
    logical_resource_id: str
    resource_type: str
    replacement: Literal["True", "Conditional", "False"] | None = None
    details: list[dict[str, Any]] = field(default_factory=list)


def between(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """The changes from one set of resolved resources to another."""
    changes = []
    for name in sorted(old.keys() | new.keys()):
        kind = (new.get(name) or old[name])["Type"]
        if name not in old:
            changes.append(Change("Add", name, kind))
        elif name not in new:
            changes.append(Change("Remove", name, kind))
        elif differing := _differing(old[name]["Properties"], new[name]["Properties"]):
            changes.append(_modification(name, kind, differing))
    return changes


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _modification(name: str, kind: str, properties: list[str]) -> Change:
    recreation = {one: _recreation(kind, one) for one in properties}
    return Change(
        "Modify",
        name,
        kind,
        "True"
        if "Always" in recreation.values()
        else "Conditional"
        if "Conditionally" in recreation.values()
        else "False",
        [
            {"Target": {"Attribute": "Properties", "Name": one, "RequiresRecreation": when}}
            for one, when in recreation.items()
        ],
    )


def _recreation(kind: str, name: str) -> Recreation:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    path = f"/properties/{name}"
    if path in schema.get("createOnlyProperties", []):
        return "Always"
    return "Conditionally" if path in schema.get("conditionalCreateOnlyProperties", []) else "Never"
