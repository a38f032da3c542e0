"""What AWS does and moto does not: secrets in a stack, public addresses, change sets, updates."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest.mock import patch

from moto.cloudformation import parsing
from moto.cloudformation.models import ChangeSet, CloudFormationBackend, Stack
from moto.cloudformation.parsing import ResourceMap
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.common_models import CloudFormationModel
from moto.ec2.exceptions import InvalidSecurityGroupNotFoundError
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance
from moto.ec2.models.security_groups import SecurityGroupIngress
from moto.secretsmanager.models import secretsmanager_backends

from tests.cloudformation.changes import Change, between
from tests.cloudformation.moto_fleet import FLEET_GAPS
from tests.cloudformation.template import Resolved, resolve_all

_Image = Callable[[ResourceMap, str, str], str]


class Secret(CloudFormationModel):
    """`AWS::SecretsManager::Secret`, kept in moto's Secrets Manager."""

    def __init__(self, arn: str) -> None:
        self.physical_resource_id = arn

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SecretsManager::Secret"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> "Secret":
        properties = cloudformation_json["Properties"]
        secret, _version = secretsmanager_backends[account_id][region_name]._add_secret(
            resource_name,
            secret_string=properties.get("SecretString", secrets.token_hex(32)),
            description=properties["Description"],
            tags=properties["Tags"],
        )
        return cls(secret.arn)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: "Secret",
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> "Secret":
        if "SecretString" not in cloudformation_json["Properties"]:
            return original_resource
        secretsmanager_backends[account_id][region_name].put_secret_value(
            secret_id=original_resource.physical_resource_id,
            secret_string=cloudformation_json["Properties"]["SecretString"],
            secret_binary="",
            client_request_token="",
            version_stages=["AWSCURRENT"],
        )
        return original_resource

    def delete(self, account: str, region: str) -> None:
        secretsmanager_backends[account][region].delete_secret(
            self.physical_resource_id,
            recovery_window_in_days=None,
            force_delete_without_recovery=True,
        )


@contextmanager
def filled() -> Iterator[None]:
    """For as long as this lasts, moto in this process has what it lacks."""
    parsing.get_model_list.cache_clear()
    parsing.get_model_map.cache_clear()
    parsing.get_name_type_map.cache_clear()
    with ExitStack() as patches:
        for owner, name, replacement in (
            (Instance, "create_from_cloudformation_json", classmethod(_run_instance)),
            (Instance, "public_dns_name", property(_public_dns_name)),
            (Stack, "parameter_list", property(_parameter_list)),
            (Stack, "has_parameters", _has_parameters),
            (ChangeSet, "diff", _diff),
            (CloudFormationResponse, "create_change_set", _create_change_set),
            (CloudFormationResponse, "_validate_different_update", lambda *_: None),
            (CloudFormationBackend, "_resolve_update_parameters", _resolve_update_parameters),
            (ResourceMap, "update", _update),
            (SecurityGroupIngress, "delete", _revoke),
            *FLEET_GAPS,
        ):
            patches.enter_context(
                patch.object(owner, name, replacement, create=name not in dir(owner))
            )
        yield


_run_plainly = Instance.__dict__["create_from_cloudformation_json"].__func__
_public_name = Instance.__dict__["public_dns_name"].fget
_create_set = CloudFormationResponse.create_change_set


def _run_instance(cls: Any, *args: Any, **kwargs: Any) -> Instance:
    """Give an instance an address if its subnet gives them, and none else."""
    instance: Instance = _run_plainly(cls, *args, **kwargs)
    interface = instance.nics[0]
    interface.public_ip_auto_assign = interface.subnet.map_public_ip_on_launch
    interface.check_auto_public_ip()
    return instance


def _public_dns_name(self: Instance) -> str:
    """A VPC without DNS hostnames gives its instances none."""
    has_names = self.ec2_backend.get_vpc(self.vpc_id).enable_dns_hostnames
    return (has_names and _public_name(self)) or ""


def _revoke(self: SecurityGroupIngress, account: str, region: str) -> None:
    if "CidrIp" not in self.properties:  # of another group, with which it goes
        return
    block = {"CidrIp": self.properties["CidrIp"], "Description": self.properties["Description"]}
    with suppress(InvalidSecurityGroupNotFoundError):  # moto deletes in any order
        ec2_backends[account][region].revoke_security_group_ingress(
            self.security_group.id,
            self.properties["IpProtocol"],
            self.properties["FromPort"],
            self.properties["ToPort"],
            [block],
        )


def _parameter_list(self: Stack) -> list[dict[str, Any]]:
    hidden = self.resource_map.no_echo_parameter_keys
    return [
        {"ParameterKey": name, "ParameterValue": "****" if name in hidden else value}
        for name, value in self.resource_map.resolved_parameters.items()
    ]


def _create_change_set(self: CloudFormationResponse) -> Any:
    """AWS's default is an update, not a creation."""
    self.params.setdefault("ChangeSetType", "UPDATE")
    return _create_set(self)


def _has_parameters(self: Stack, parameters: dict[str, Any]) -> bool:
    """Nothing changes if no resource does, whichever way the parameters were said."""
    return not _changes(self.resource_map, self.template_dict, parameters)


def _diff(self: ChangeSet) -> list[Change]:
    return _changes(self.stack.resource_map, self.template_dict, self.parameters)


def _resolve_update_parameters(
    self: CloudFormationBackend, instance: Stack, incoming_params: list[dict[str, Any]]
) -> dict[str, Any]:
    """A previous value may be a default that nobody has said."""
    return {
        parameter["ParameterKey"]: instance.stack_parameters[parameter["ParameterKey"]]
        if parameter.get("UsePreviousValue")
        else parameter["ParameterValue"]
        for parameter in incoming_params
    }


def _changes(
    known: ResourceMap, template: dict[str, Any], parameters: dict[str, Any]
) -> list[Change]:
    was = _resolve(known, known._template, known.input_parameters, _image_then)
    becomes = _resolve(known, template, parameters, _image_now)
    return between(was.resources, becomes.resources)


def _resolve(
    known: ResourceMap, template: dict[str, Any], parameters: dict[str, Any], image: _Image
) -> Resolved:
    images = {
        (path := parameters.get(name, parameter["Default"])): image(known, name, path)
        for name, parameter in template["Parameters"].items()
        if parameter["Type"].startswith("AWS::SSM::")
    }
    return resolve_all(template, _as_said(parameters), known._region_name, images)


def _as_said(parameters: dict[str, Any]) -> dict[str, Any]:
    """A previous value of a list is its parts; it was said with commas between them."""
    return {
        name: ",".join(value) if isinstance(value, list) else value
        for name, value in parameters.items()
    }


def _image_then(known: ResourceMap, name: str, path: str) -> str:
    """What AWS had published when the stack was made or last changed."""
    return str(known.resolved_parameters[name])


def _image_now(known: ResourceMap, name: str, path: str) -> str:
    return str(known.parse_ssm_parameter(path, "AWS::SSM::Parameter::Value<String>"))


def _update(self: ResourceMap, template: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Update what moto can update, restart an instance that stays, and make the rest anew."""
    changes = _changes(self, template, parameters)
    old = self._resource_json_map
    self._template, self._resource_json_map = template, template["Resources"]
    self.input_parameters = _as_said(parameters)
    self.load_mapping()
    self.load_parameters()
    self.load_conditions()
    for change in changes:
        name = change.logical_resource_id
        if change.resource_type == "AWS::EC2::Instance" and change.replacement in (
            "False",
            "Conditional",
        ):
            _resize(self[name], template["Resources"][name], self)
            continue
        if change.action == "Modify" and parsing.parse_and_update_resource(
            name, template["Resources"][name], self, self._account_id, self._region_name
        ):
            continue
        if change.action != "Add":
            self._delete_resource(self._parsed_resources.pop(name), old[name])
        if change.action != "Remove":
            _ = self[name]


def _resize(instance: Any, resource: dict[str, Any], known: ResourceMap) -> None:
    """Another size is given to an instance that is stopped, which costs it its address."""
    size = parsing.clean_json(resource["Properties"]["InstanceType"], known)
    if size != instance.instance_type:
        instance.stop()
        instance.instance_type = size
        instance.start()
