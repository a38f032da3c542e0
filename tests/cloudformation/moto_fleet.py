"""What a fleet asks AWS for and moto does not do: its resources, and how its group is told."""

from typing import Any, ClassVar

from moto.autoscaling.models import autoscaling_backends
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.common_models import CloudFormationModel
from moto.core.responses import ActionResult, EmptyResult
from moto.elbv2.models import FakeLoadBalancer, FakeTargetGroup, elbv2_backends


class _Noted:
    """There, by its name, and does nothing."""

    kind: ClassVar[str]

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.kind

    @classmethod
    def create_from_cloudformation_json(cls, resource_name: str, *args: Any, **kwargs: Any) -> Any:
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, *args: Any, **kwargs: Any
    ) -> Any:
        return original_resource

    def delete(self, account: str, region: str) -> None:
        pass


class ReplicationGroup(_Noted, CloudFormationModel):
    """Valkey, at an address that a test may choose."""

    kind = "AWS::ElastiCache::ReplicationGroup"
    address: ClassVar[str] = "master.valkey.example.com"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "PrimaryEndPoint.Address"

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return {"PrimaryEndPoint.Address": self.address}[attribute_name]


class SubnetGroup(_Noted, CloudFormationModel):
    kind = "AWS::ElastiCache::SubnetGroup"


class ScalingPolicy(_Noted, CloudFormationModel):
    kind = "AWS::AutoScaling::ScalingPolicy"


class Alarm(_Noted, CloudFormationModel):
    kind = "AWS::CloudWatch::Alarm"


class SecurityGroupEgress(_Noted, CloudFormationModel):
    kind = "AWS::EC2::SecurityGroupEgress"


lifecycle_actions: list[dict[str, Any]] = []
"""What instances have told their groups since this was cleared."""

refreshes: list[dict[str, Any]] = []
"""The instance refreshes that there have been since this was cleared, the newest first."""

endings: list[str] = []
"""How the next ones end, at the second look, if not well and at once."""


def _make_balancer(
    cls: Any, /, name: str, resource: dict[str, Any], account: str, region: str, **_: Any
) -> FakeLoadBalancer:
    """Of the type that the template says."""
    properties = resource["Properties"]
    made: FakeLoadBalancer = elbv2_backends[account][region].create_load_balancer(
        name,
        properties["SecurityGroups"],
        properties["Subnets"],
        scheme=properties["Scheme"],
        loadbalancer_type=properties["Type"],
    )
    return made


def _of_balancer(self: FakeLoadBalancer, attribute: str) -> str:
    return {
        "DNSName": self.dns_name,
        "LoadBalancerFullName": self.arn.partition(":loadbalancer/")[2],
        "CanonicalHostedZoneID": "Z0000000000EXAMPLE",
    }[attribute]


def _of_target_group(self: FakeTargetGroup, attribute: str) -> str:
    return {"TargetGroupFullName": self.arn.rpartition(":")[2]}[attribute]


def _complete_lifecycle_action(self: AutoScalingResponse) -> ActionResult:
    lifecycle_actions.append(self._get_params())
    return EmptyResult()


def _start_instance_refresh(self: AutoScalingResponse) -> ActionResult:
    """Replace every instance at once, by the newest version of what the group makes them by.

    AWS's CloudFormation has told the group of that version; moto's does not.
    """
    asked = self._get_params()
    if endings:
        identifier = f"refresh-{len(refreshes)}"
        refreshes.insert(0, {**asked, "InstanceRefreshId": identifier, "Status": "InProgress"})
        return ActionResult({"InstanceRefreshId": identifier})
    backend = autoscaling_backends[self.current_account][self.region]
    group = backend.autoscaling_groups[asked["AutoScalingGroupName"]]
    template = group.ec2_launch_template
    assert template is not None
    newest = template.latest_version_number
    group.launch_template_version = group.provided_launch_template_version = str(newest)
    template.default_version_number = newest  # which moto says of every instance
    size = group.desired_capacity
    backend.set_desired_capacity(group.name, 0)
    backend.set_desired_capacity(group.name, size)
    refreshes.insert(
        0,
        {
            **asked,
            "InstanceRefreshId": f"refresh-{len(refreshes)}",
            "Status": "Successful",
            "PercentageComplete": 100,
            "InstancesToUpdate": 0,
        },
    )
    return ActionResult({"InstanceRefreshId": refreshes[0]["InstanceRefreshId"]})


def _describe_instance_refreshes(self: AutoScalingResponse) -> ActionResult:
    wanted = self._get_param("InstanceRefreshIds", [])
    found = [{**each} for each in refreshes if not wanted or each["InstanceRefreshId"] in wanted]
    if refreshes and refreshes[0]["Status"] == "InProgress" and endings:
        refreshes[0]["Status"] = endings.pop()
    return ActionResult({"InstanceRefreshes": found})


def _cancel_instance_refresh(self: AutoScalingResponse) -> ActionResult:
    refreshes[0]["Status"] = "Cancelled"
    return ActionResult({"InstanceRefreshId": refreshes[0]["InstanceRefreshId"]})


FLEET_GAPS = (
    (FakeLoadBalancer, "create_from_cloudformation_json", classmethod(_make_balancer)),
    (FakeLoadBalancer, "get_cfn_attribute", _of_balancer),
    (FakeTargetGroup, "get_cfn_attribute", _of_target_group),
    (FakeTargetGroup, "has_cfn_attr", classmethod(lambda cls, name: True)),
    (AutoScalingResponse, "complete_lifecycle_action", _complete_lifecycle_action),
    (AutoScalingResponse, "start_instance_refresh", _start_instance_refresh),
    (AutoScalingResponse, "describe_instance_refreshes", _describe_instance_refreshes),
    (AutoScalingResponse, "cancel_instance_refresh", _cancel_instance_refresh),
)
