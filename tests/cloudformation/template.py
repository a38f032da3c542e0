"""What a template comes to with given parameters, in any region, before anything is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from botocore.session import Session
from moto.cloudformation.models import Stack
from moto.cloudformation.parsing import ResourceMap, clean_json

from tests.emulator.names import ACCOUNT

PATH = Path(__file__).parents[2] / "cloudformation/instance.yaml"
FLEET = PATH.with_name("fleet.yaml")

NEEDED = {"KeyName": "my-key", "VpcId": "vpc-1", "SubnetId": "subnet-1"}
NEEDED_BY_FLEET = {
    "VpcId": "vpc-1",
    "SubnetIds": "subnet-1,subnet-2",
    "ReleaseBucket": "releases",
    "ReleaseVersion": "0.1.0-0123456789ab",
    "ReleaseSha256": "5f" * 32,
    "HostSecret": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:fleet-a1b2c3",
}
KEY = "0b7c7a5e-2f3d-4a6b-8c9d-0e1f2a3b4c5d"


@dataclass(frozen=True)
class Resolved:
    """The resources and outputs that a stack would have, each function replaced by its value."""

    resources: dict[str, Any]
    outputs: dict[str, Any]

    def of_type(self, kind: str) -> dict[str, Any]:
        """The properties of the resources of a type, by logical name."""
        return {
            name: resource["Properties"]
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }


class _Resource:
    """Stands in for a resource: what is asked of it is answered by its name."""

    def __init__(self, name: str) -> None:
        self.physical_resource_id = f"<{name}>"
        self._name = name

    def get_cfn_attribute(self, attribute: str) -> str:
        return f"<{self._name}.{attribute}>"


class _Unmade(ResourceMap):
    """moto's resolution of a template, without its making of resources."""

    images: Mapping[str, str]

    def parse_ssm_parameter(self, value: str, value_type: str) -> str:
        return self.images.get(value, f"<{value}>")

    def __getitem__(self, key: str) -> Any:
        known = self._parsed_resources
        return known[key] if key in known else _Resource(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key]


@cache
def read(path: Path = PATH) -> dict[str, Any]:
    """The template as it is written, its functions in their long form."""
    template: dict[str, Any] = Stack.parse_template(path.read_text())
    return template


def resolve(region: str = "us-east-1", **parameters: str) -> Resolved:
    """The template of one instance with these parameters; those it needs are put in."""
    return resolve_all(read(), {**NEEDED, **parameters}, region)


def resolve_fleet(region: str = "us-east-1", **parameters: str) -> Resolved:
    """The same of a fleet's template."""
    return resolve_all(read(FLEET), {**NEEDED_BY_FLEET, **parameters}, region)


def resolve_all(
    template: dict[str, Any],
    parameters: Mapping[str, str],
    region: str,
    images: Mapping[str, str] = {},
) -> Resolved:
    """A template with exactly these parameters; `images` are by the names of AWS's own."""
    stack = "sagemaker-proxy"
    arn = f"arn:aws:cloudformation:{region}:{ACCOUNT}:stack/{stack}/1"
    known = _Unmade(arn, stack, dict(parameters), {}, region, ACCOUNT, template, None)
    known.images = images
    known._parsed_resources |= _partition(region)
    known.load_mapping()
    known.load_parameters()
    known.load_conditions()
    return Resolved(
        _resolved(template["Resources"], known),
        {name: output["Value"] for name, output in _resolved(template["Outputs"], known).items()},
    )


@cache
def _partition(region: str) -> dict[str, str]:
    partition = Session().get_partition_for_region(region)
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    return {"AWS::Partition": partition, "AWS::URLSuffix": suffix}


def _resolved(parts: dict[str, Any], known: _Unmade) -> dict[str, Any]:
    return {
        name: clean_json(part, known)
        for name, part in parts.items()
        if "Condition" not in part or known.lazy_condition_map[part["Condition"]]
    }
