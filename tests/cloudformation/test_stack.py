"""`stack.yml` makes, changes and deletes a stack."""

import stat
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cloudformation.cloud import Cloud
from tests.cloudformation.commands import Outcome, Stack
from tests.cloudformation.stacks import make, needed, open_ports
from tests.cloudformation.template import KEY

NEWER = "ami-0aaaaaaaaaaaaaaaa"
ROTATED = "5d1f3a90-6b2c-4d3e-9f4a-1b2c3d4e5f60\n"
PREDECESSOR = """
Parameters:
  KeyName: {Type: AWS::EC2::KeyPair::KeyName}
  VpcId: {Type: AWS::EC2::VPC::Id}
  SubnetId: {Type: AWS::EC2::Subnet::Id}
Resources:
  ProxyInstance:
    Type: AWS::EC2::Instance
    Properties: {ImageId: ami-0123456789abcdef0, KeyName: !Ref KeyName, SubnetId: !Ref SubnetId}
Outputs:
  PublicDNS: {Value: !GetAtt ProxyInstance.PublicDnsName}
"""


@dataclass
class Story:
    """A stack's life: how each play went, and what there was after it."""

    plays: dict[str, Outcome]
    stacks: dict[str, dict[str, Any]]
    keys: dict[str, str]
    key_mode: int
    secret: str
    rules: dict[int, list[str]]


@pytest.fixture(scope="module")
def story(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Story:
    cloud.reset()
    home = tmp_path_factory.mktemp("story")
    play = Stack(cloud.environment(home), home)
    plays, stacks, keys = {}, {}, {}

    def act(name: str, variables: dict[str, str], *arguments: str) -> None:
        plays[name] = play(variables, *arguments)
        stacks[name] = cloud.stack()
        keys[name] = play.key_file.read_text() if play.key_file.exists() else ""

    act("check of a new stack", needed(cloud), "--check")
    act("creation", {**needed(cloud), "api_key": KEY, "proxy_port": "8443"}, "-vvv")
    mode = stat.S_IMODE(play.key_file.stat().st_mode)
    arn = stacks["creation"]["Outputs"]["SecretArn"]
    secret = cloud.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    play.key_file.write_text(ROTATED)
    act("the same again", needed(cloud))
    act("check of a change", {"stack_client_cidr": "198.51.100.0/24"}, "--check")
    play.key_file.unlink()
    act("change", {"stack_client_cidr": "198.51.100.0/24"})
    rules = open_ports(cloud)
    act("deletion", {"state": "absent"})
    return Story(plays, stacks, keys, mode, secret, rules)


def test_check_makes_no_stack_but_tells_that_it_would(story: Story) -> None:
    assert story.stacks["check of a new stack"] == {}
    assert story.plays["check of a new stack"].changed == 1
    assert "The stack sagemaker-proxy is new." in story.plays["check of a new stack"].output


def test_it_makes_the_stack_and_says_the_line_for_the_inventory(story: Story) -> None:
    stack = story.stacks["creation"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert story.plays["creation"].changed == 3  # the stack, the key's folder, the key
    name = stack["Outputs"]["PublicDNS"]
    assert (
        f"sagemaker-proxy ansible_host={name} proxy_port=8443\n" in story.plays["creation"].output
    )
    assert f"https://{name}:8443\n" in story.plays["creation"].output


def test_a_key_that_is_said_is_in_secrets_manager_and_where_the_roles_look(story: Story) -> None:
    assert story.secret == KEY
    assert (story.keys["creation"], story.key_mode) == (f"{KEY}\n", 0o600)


def test_no_play_shows_it_not_even_at_vvv(story: Story) -> None:
    assert [name for name, play in story.plays.items() if KEY in play.output] == []


def test_a_second_run_changes_nothing(story: Story) -> None:
    assert story.plays["the same again"].changed == 0
    assert story.stacks["the same again"] == story.stacks["creation"]


def test_it_leaves_a_key_that_was_rotated(story: Story) -> None:
    assert story.keys["the same again"] == ROTATED


def test_a_machine_without_the_key_gets_it_from_secrets_manager(story: Story) -> None:
    assert story.keys["change"] == f"{KEY}\n"


def test_check_tells_what_would_change_and_changes_nothing(story: Story) -> None:
    play = story.plays["check of a change"]
    assert play.changed == 1
    assert "Modify ClientIngress (AWS::EC2::SecurityGroupIngress), which is replaced" in play.output
    assert story.stacks["check of a change"] == story.stacks["creation"]


def test_it_changes_what_is_said_and_keeps_the_rest(story: Story) -> None:
    assert story.plays["change"].changed == 2  # the stack, and the key that was missing here
    assert story.stacks["change"]["StackStatus"] == "UPDATE_COMPLETE"
    assert story.stacks["change"]["Outputs"] == story.stacks["creation"]["Outputs"]
    assert story.rules == {8443: ["198.51.100.0/24"], 22: ["0.0.0.0/0"]}


def test_it_deletes_the_stack(story: Story) -> None:
    assert story.plays["deletion"].changed == 1
    assert story.stacks["deletion"] == {}


def test_a_key_that_was_rotated_is_not_overwritten_by_an_old_one(fresh: Cloud, play: Stack) -> None:
    make(fresh, ApiKey=KEY)
    play.key_file.parent.mkdir(exist_ok=True)
    play.key_file.write_text(ROTATED)
    refused = play({"api_key": KEY}, ok=False)
    assert "has another key than api_key" in refused.message
    assert play.key_file.read_text() == ROTATED
    assert ROTATED.strip() not in refused.output
    play({"api_key": KEY, "api_keys_replace": True})
    assert play.key_file.read_text() == f"{KEY}\n"


# The image


def test_an_update_never_brings_a_newer_image(fresh: Cloud, play: Stack) -> None:
    make(fresh)
    instance = fresh.stack()["Outputs"]["InstanceId"]
    fresh.publish_image("x86_64", NEWER)
    play({"stack_ssh_cidr": "203.0.113.4/32"})
    assert fresh.stack()["Outputs"]["InstanceId"] == instance
    assert fresh.stack()["Parameters"]["ImageId"] != NEWER


def test_the_instance_is_replaced_only_when_that_is_said(fresh: Cloud, play: Stack) -> None:
    make(fresh)
    instance = fresh.stack()["Outputs"]["InstanceId"]
    fresh.publish_image("arm64", NEWER)
    wanted = {"stack_instance_type": "t4g.small"}
    refused = play(wanted, ok=False)
    assert "Modify Instance (AWS::EC2::Instance), which is replaced" in refused.output
    assert "-e stack_replace=true" in refused.message
    assert fresh.stack()["Outputs"]["InstanceId"] == instance
    play({**wanted, "stack_replace": True})
    assert fresh.stack()["Outputs"]["InstanceId"] != instance
    assert fresh.stack()["Parameters"]["ImageId"] == NEWER


def test_another_size_of_instance_is_only_a_restart(fresh: Cloud, play: Stack) -> None:
    make(fresh)
    output = play({"stack_instance_type": "t3.small"}, "--check").output
    assert "Modify Instance (AWS::EC2::Instance), which is stopped and started" in output


def test_a_stack_of_the_predecessors_template_is_not_replaced_unasked(
    fresh: Cloud, play: Stack
) -> None:
    make(fresh, PREDECESSOR)
    refused = play({}, ok=False)
    assert "Remove ProxyInstance (AWS::EC2::Instance)" in refused.output
    assert "-e stack_replace=true" in refused.message


# Session Manager


def test_with_session_manager_the_host_is_reached_through_it(fresh: Cloud, play: Stack) -> None:
    make(fresh)
    assert "stack_session_manager_bucket" in play({"stack_session_manager": True}, ok=False).message
    chosen = {"stack_session_manager": True, "stack_session_manager_bucket": "transfers"}
    output = play(chosen).output
    assert open_ports(fresh) == {8000: ["0.0.0.0/0"]}
    for variable in (
        "ansible_connection=amazon.aws.aws_ssm",
        f"ansible_aws_ssm_instance_id={fresh.stack()['Outputs']['InstanceId']}",
        "ansible_aws_ssm_region=us-east-1",
        "ansible_aws_ssm_bucket_name=transfers",
    ):
        assert variable in output
