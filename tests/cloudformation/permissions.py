"""What the template's role may do, as moto evaluates policies."""

import json
from typing import Any

from moto.iam.access_control import IAMPolicy, PermissionResult

from tests.cloudformation.template import Resolved


def policies(stack: Resolved) -> list[dict[str, Any]]:
    """The documents of every policy that the role has, but for AWS's managed ones."""
    inside = [policy["PolicyDocument"] for policy in role(stack)["Policies"]]
    attached = stack.of_type("AWS::IAM::Policy").values()
    assert all(policy["Roles"] == ["<Role>"] for policy in attached)
    return inside + [policy["PolicyDocument"] for policy in attached]


def role(stack: Resolved) -> dict[str, Any]:
    (properties,) = stack.of_type("AWS::IAM::Role").values()
    found: dict[str, Any] = properties
    return found


def actions(stack: Resolved) -> set[str]:
    return {
        action
        for policy in policies(stack)
        for statement in policy["Statement"]
        for action in statement["Action"]
    }


def may(stack: Resolved, action: str, resource: str) -> bool:
    """Whether IAM lets the role do this, as moto evaluates policies."""
    return any(
        IAMPolicy(json.dumps(policy)).is_action_permitted(action, resource)
        is PermissionResult.PERMITTED
        for policy in policies(stack)
    )
