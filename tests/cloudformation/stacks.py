"""Stacks that are there already, and what they came to."""

from typing import Any

from tests.cloudformation.cloud import Cloud
from tests.cloudformation.template import FLEET, NEEDED_BY_FLEET, PATH


def make(cloud: Cloud, template: str = PATH.read_text(), **parameters: str) -> None:
    """Make a stack by AWS's API, as the console or the command line does."""
    needed = {"KeyName": "my-key", "VpcId": cloud.vpc, "SubnetId": cloud.subnet}
    cloud.client("cloudformation").create_stack(
        StackName="sagemaker-proxy",
        TemplateBody=template,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in {**needed, **parameters}.items()
        ],
    )


def make_fleet(cloud: Cloud, **parameters: str) -> dict[str, Any]:
    """Make a fleet's stack in two subnets, and return it."""
    subnets = cloud.client("ec2").describe_subnets()["Subnets"][:2]
    places = {"VpcId": cloud.vpc, "SubnetIds": ",".join(item["SubnetId"] for item in subnets)}
    cloud.client("cloudformation").create_stack(
        StackName="sagemaker-proxy",
        TemplateBody=FLEET.read_text(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in {**NEEDED_BY_FLEET, **places, **parameters}.items()
        ],
    )
    return cloud.stack()


def needed(cloud: Cloud) -> dict[str, str]:
    return {"key_name": "my-key", "vpc_id": cloud.vpc, "subnet_id": cloud.subnet}


def open_ports(cloud: Cloud) -> dict[int, list[str]]:
    group = cloud.stack()["Outputs"]["SecurityGroupId"]
    (found,) = cloud.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"]
    return {
        rule["FromPort"]: [block["CidrIp"] for block in rule["IpRanges"]]
        for rule in found["IpPermissions"]
    }
