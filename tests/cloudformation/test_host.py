"""`stack.yml` says where the stack's host is now, whatever the stack's outputs say."""

import pytest

from tests.cloudformation.cloud import Cloud
from tests.cloudformation.commands import Outcome, Stack
from tests.cloudformation.stacks import make, needed


def says(played: Outcome, address: str) -> bool:
    """Whether this is the address in the inventory's line, and in the URL."""
    return (
        f"sagemaker-proxy ansible_host={address} proxy_port=8000\n" in played.output
        and f"The proxy's address: https://{address}:8000\n" in played.output
    )


def test_with_a_bucket_the_host_puts_input_there_until_it_is_taken_away(
    fresh: Cloud, play: Stack
) -> None:
    played = play({**needed(fresh), "stack_async_bucket": "payloads"})
    said = " proxy_port=8000 proxy_async_input_location=s3://payloads/sagemaker-proxy/input/\n"
    assert said in played.output
    assert said in play({}).output
    assert "proxy_async_input_location" not in play({"stack_async_bucket": ""}).output


def restart(cloud: Cloud) -> None:
    instances = [cloud.instance()["InstanceId"]]
    cloud.client("ec2").stop_instances(InstanceIds=instances)
    cloud.client("ec2").start_instances(InstanceIds=instances)


@pytest.mark.parametrize("mode", [[], ["--check"]], ids=["played", "checked"])
def test_an_instance_that_was_stopped_and_started_has_another_address(
    fresh: Cloud, play: Stack, mode: list[str]
) -> None:
    make(fresh)
    outputs = fresh.stack()["Outputs"]
    restart(fresh)
    assert fresh.stack()["Outputs"] == outputs
    name = fresh.instance()["PublicDnsName"]
    assert name != outputs["PublicDNS"]
    played = play({}, *mode)
    assert says(played, name)
    assert played.changed == 0
    assert outputs["PublicDNS"] not in played.output


def test_another_size_gives_it_another_and_that_one_is_told(fresh: Cloud, play: Stack) -> None:
    make(fresh)
    before = fresh.instance()
    played = play({"stack_instance_type": "t3.small"})
    after = fresh.instance()
    assert (after["InstanceId"], after["InstanceType"]) == (before["InstanceId"], "t3.small")
    assert after["PublicDnsName"] != before["PublicDnsName"]
    assert says(played, after["PublicDnsName"])


def test_with_an_elastic_ip_it_is_what_the_outputs_say(fresh: Cloud, play: Stack) -> None:
    make(fresh, ElasticIp="true")
    assert says(play({}), fresh.stack()["Outputs"]["PublicDNS"])


def test_in_a_vpc_without_names_it_is_the_address(fresh: Cloud, play: Stack) -> None:
    fresh.client("ec2").modify_vpc_attribute(VpcId=fresh.vpc, EnableDnsHostnames={"Value": False})
    played = play(needed(fresh))
    assert fresh.instance()["PublicDnsName"] == ""
    assert says(played, fresh.instance()["PublicIpAddress"])


def test_in_a_private_subnet_it_is_the_private_address(fresh: Cloud, play: Stack) -> None:
    fresh.client("ec2").modify_subnet_attribute(
        SubnetId=fresh.subnet, MapPublicIpOnLaunch={"Value": False}
    )
    played = play(needed(fresh))
    assert "PublicIpAddress" not in fresh.instance()
    assert says(played, fresh.instance()["PrivateIpAddress"])


def test_a_stopped_instance_is_told_with_how_to_start_it(fresh: Cloud, play: Stack) -> None:
    make(fresh)
    instance = fresh.instance()["InstanceId"]
    fresh.client("ec2").stop_instances(InstanceIds=[instance])
    assert play({}, ok=False).message == (
        f"The stack sagemaker-proxy is there, but its instance {instance} is stopped. Start it, "
        f"and play this again: aws ec2 start-instances --region us-east-1 --instance-ids {instance}"
    )
    assert f"its instance {instance} is stopped" in " ".join(play({}, "--check").output.split())


@pytest.mark.parametrize("state", ["terminated", "gone"])
def test_an_instance_that_is_gone_is_told_with_what_to_do(
    fresh: Cloud, play: Stack, state: str
) -> None:
    make(fresh)
    instance = fresh.instance()["InstanceId"]
    fresh.client("ec2").terminate_instances(InstanceIds=[instance])
    if state == "gone":
        fresh.forget_instances()
    assert play({}, ok=False).message == (
        f"The stack sagemaker-proxy is there, but its instance {instance} is {state}. Delete the "
        "stack, and make it again: ansible-playbook playbooks/stack.yml -e state=absent "
        "-e stack_name=sagemaker-proxy"
    )
