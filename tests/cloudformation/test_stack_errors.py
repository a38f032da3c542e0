"""`stack.yml` says why it cannot, in one message, with AWS's own reason."""

from tests.cloudformation.cloud import Cloud
from tests.cloudformation.commands import Stack
from tests.cloudformation.stacks import make, needed

QUOTA = "You have requested more vCPU capacity than your current vCPU limit of 0 allows."


def test_without_credentials_it_says_how_to_have_some(play: Stack) -> None:
    refused = play({}, ok=False, without=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    assert refused.message.startswith("There are no AWS credentials here. Set AWS_PROFILE")


def test_without_a_region_it_says_how_to_choose_one(play: Stack) -> None:
    assert "-e stack_region=" in play({}, ok=False, without=("AWS_DEFAULT_REGION",)).message


def test_a_key_pair_that_is_not_there_is_named_with_those_that_are(
    fresh: Cloud, play: Stack
) -> None:
    refused = play({**needed(fresh), "key_name": "mine"}, ok=False)
    message = "There is no key pair mine in this region. There are: my-key"
    assert refused.message.replace('"', "") == message


def test_what_is_missing_is_told_with_what_there_is(fresh: Cloud, play: Stack) -> None:
    message = play({"key_name": "my-key"}, ok=False).message
    assert "Say vpc_id and subnet_id" in message
    assert f"vpc_id={fresh.vpc} subnet_id={fresh.subnet} (us-east-1a, public addresses)" in message


def test_a_stack_that_cannot_be_made_is_cleared_away_with_aws_reason(
    fresh: Cloud, play: Stack
) -> None:
    with fresh.fails_to_make("Instance", "AWS::EC2::Instance", QUOTA):
        refused = play(needed(fresh), ok=False)
    assert refused.message == (
        "AWS could not make the stack sagemaker-proxy, and everything is as it was. "
        f"Instance (AWS::EC2::Instance): {QUOTA}"
    )
    assert fresh.stack() == {}


def test_a_stack_in_rollback_complete_has_to_be_deleted_first(fresh: Cloud, play: Stack) -> None:
    with fresh.fails_to_make("Instance", "AWS::EC2::Instance", QUOTA):
        make(fresh)
    message = play(needed(fresh), ok=False).message
    assert "is in ROLLBACK_COMPLETE. It has to be deleted before it can be made again" in message
    assert "ansible-playbook playbooks/stack.yml -e state=absent" in message
    assert message.endswith(f"Instance (AWS::EC2::Instance): {QUOTA}")


def test_what_the_template_refuses_is_told_in_its_words(fresh: Cloud, play: Stack) -> None:
    make(fresh)
    words = "Parameter ClientCidr failed to satisfy constraint: must be an IPv4 CIDR block."
    with fresh.refuses("create_change_set", words):
        assert play({"stack_client_cidr": "everybody"}, ok=False).message.endswith(words)
