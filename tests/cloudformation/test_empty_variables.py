"""A variable of `stack.yml` that is empty is as if it were not there."""

import pytest

from tests.cloudformation.cloud import Cloud
from tests.cloudformation.commands import Stack
from tests.cloudformation.stacks import make, needed
from tests.cloudformation.template import KEY
from tests.cloudformation.test_documentation import VARIABLES

NEWER = "ami-0aaaaaaaaaaaaaaaa"
CHOSEN = {
    "ApiKey": KEY,
    "Port": "8443",
    "InstanceType": "t3.small",
    "VolumeSize": "20",
    "ElasticIp": "true",
    "ClientCidr": "198.51.100.0/24",
    "SshCidr": "203.0.113.4/32",
    "AcmeChallenge": "true",
    "EndpointNamePattern": "llama-*",
    "AsyncBucket": "payloads",
}
OTHERS = [
    "stack_region",
    "stack_private_key_file",
    "stack_session_manager_bucket",
    "stack_replace",
    "api_keys_replace",
]


@pytest.mark.parametrize("empty", ["", None], ids=["an empty string", "nothing"])
def test_an_empty_one_changes_nothing(fresh: Cloud, play: Stack, empty: str | None) -> None:
    make(fresh, **CHOSEN)
    fresh.publish_image("x86_64", NEWER)
    before = fresh.stack()
    said = {name for name in VARIABLES.values() if name != "stack_async_bucket"}
    played = play(dict.fromkeys([*said, *OTHERS], empty))
    assert fresh.stack() == before
    assert "- Nothing changes.\n" in played.output
    assert "ansible_ssh_private_key_file" not in played.output
    assert "DEPRECATION" not in played.output


def test_an_empty_image_does_not_hide_another_change(fresh: Cloud, play: Stack) -> None:
    make(fresh)
    image = fresh.instance()["ImageId"]
    fresh.publish_image("x86_64", NEWER)
    play({"stack_image": "", "stack_ssh_cidr": "203.0.113.4/32"})
    assert fresh.stack()["Parameters"]["ImageId"] == fresh.instance()["ImageId"] == image


def test_an_empty_bucket_takes_the_right_to_it_away(fresh: Cloud, play: Stack) -> None:
    make(fresh, AsyncBucket="payloads")
    assert "Remove AsyncPolicy (AWS::IAM::Policy)" in play({"stack_async_bucket": ""}).output
    assert fresh.stack()["Parameters"]["AsyncBucket"] == ""


def test_a_new_stack_says_what_is_missing(fresh: Cloud, play: Stack) -> None:
    assert "Say key_name" in play({**needed(fresh), "key_name": ""}, ok=False).message
    assert "Say vpc_id and subnet_id" in play({**needed(fresh), "vpc_id": ""}, ok=False).message


def test_session_manager_needs_a_bucket_that_has_a_name(fresh: Cloud, play: Stack) -> None:
    make(fresh)
    said = {"stack_session_manager": True, "stack_session_manager_bucket": ""}
    assert "Say stack_session_manager_bucket" in play(said, ok=False).message
