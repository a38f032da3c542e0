"""playbooks/inventory/aws_ec2.yml finds the running hosts of a fleet, and no others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cloudformation.cloud import Cloud

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]


def run(cloud: Cloud, name: str, number: int) -> list[str]:
    """Instances with a name, as an Auto Scaling group starts them."""
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
    ec2 = cloud.client("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    started = ec2.run_instances(
        ImageId=image, MinCount=number, MaxCount=number, TagSpecifications=tags
    )
    return [instance["InstanceId"] for instance in started["Instances"]]


def plain(value: str | dict[str, str]) -> str:
    """What comes from outside is marked as no template."""
    return value if isinstance(value, str) else value["__ansible_unsafe"]


def test_it_names_each_by_its_id(tmp_path: Path) -> None:
    with Cloud() as cloud:
        fleet = run(cloud, "sagemaker-proxy-fleet", 3)
        run(cloud, "another", 1)
        gone = run(cloud, "sagemaker-proxy-fleet", 1)
        cloud.client("ec2").terminate_instances(InstanceIds=gone)
        program = Path(sys.executable).with_name("ansible-inventory")
        done = subprocess.run(
            [program, "-i", "playbooks/inventory/aws_ec2.yml", "--list"],
            cwd=ROOT,
            env=cloud.environment(tmp_path),
            capture_output=True,
            text=True,
            check=True,
        )
    found = json.loads(done.stdout)
    assert sorted(found["sagemaker_proxy"]["hosts"]) == sorted(fleet)
    for host, variables in found["_meta"]["hostvars"].items():
        assert plain(variables["instance_id"]) == host
        assert plain(variables["ansible_host"]) == plain(variables["private_ip_address"])
