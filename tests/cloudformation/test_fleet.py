"""`fleet.yml` makes a fleet, changes it and brings that to its hosts; and its key is replaced."""

import json
import os
import re
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from proxy.keys import hash_key
from tests.cloudformation.cloud import Cloud
from tests.cloudformation.commands import ROOT, Outcome, Stack
from tests.cloudformation.moto_fleet import endings, refreshes
from tests.testhost.authority import Authority
from tests.testhost.locks import exclusively

pytestmark = pytest.mark.timeout(900)

BUCKET = "releases"
NAME = "sagemaker-proxy-fleet"
SECRET = f"{NAME}/hosts"
SOON = {"fleet_wait_seconds": 1, "fleet_looks": 1}
CHANGE = {"fleet_max_size": 9, "fleet_instance_type": "c6i.xlarge"}


@contextmanager
def hosts(cloud: Cloud) -> Iterator[None]:
    """In the place of the instances: meanwhile, they tell that they have the secret."""
    ending = threading.Event()

    def tell() -> None:
        ec2, secrets = cloud.client("ec2"), cloud.client("secretsmanager")
        while not ending.wait(0.5):
            names = [item["Name"] for item in secrets.list_secrets()["SecretList"]]
            found = ec2.describe_instances()["Reservations"]
            instances = [each["InstanceId"] for group in found for each in group["Instances"]]
            if SECRET in names and instances:
                version = secrets.get_secret_value(SecretId=SECRET)["VersionId"]
                tags = [{"Key": "HostSecretVersion", "Value": version}]
                ec2.create_tags(Resources=instances, Tags=tags)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


@dataclass
class Story:
    """A fleet's life: how each play went, and what there was after it."""

    play: Stack
    cloud: Cloud
    plays: dict[str, Outcome] = field(default_factory=dict)
    stacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    refreshes: dict[str, int] = field(default_factory=dict)
    versions: dict[str, list[str]] = field(default_factory=dict)
    key_mode: int = 0

    def act(
        self,
        name: str,
        variables: dict[str, Any],
        *arguments: str,
        of: str = "fleet.yml",
        ok: bool = True,
        says_key_file: bool = True,
    ) -> None:
        play = replace(self.play, playbook=of, says_key_file=says_key_file)
        with exclusively(ROOT):  # which a release is packed in
            self.plays[name] = play(variables, *arguments, ok=ok)
        self.stacks[name] = self.cloud.stack(NAME)
        self.keys[name] = play.key_file.read_text().strip() if play.key_file.exists() else ""
        self.refreshes[name] = len(refreshes)
        secrets = self.cloud.client("secretsmanager")
        listed = [item["Name"] for item in secrets.list_secrets()["SecretList"]]
        if SECRET in listed:
            value = secrets.get_secret_value(SecretId=SECRET)
            self.secrets[name] = json.loads(value["SecretString"])
        groups = self.cloud.client("autoscaling").describe_auto_scaling_groups()
        self.versions[name] = [
            instance["LaunchTemplate"]["Version"]
            for group in groups["AutoScalingGroups"]
            for instance in group["Instances"]
        ]


@pytest.fixture(scope="module")
def story(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Story:
    cloud.reset()
    refreshes.clear()
    home = tmp_path_factory.mktemp("fleet")
    for name, content in zip(
        ("certificate", "private_key"),
        Authority("The fleet's").issue("fleet.example.com"),
        strict=True,
    ):
        (home / name).write_bytes(content)
    cloud.client("s3").create_bucket(Bucket=BUCKET)
    subnets = cloud.client("ec2").describe_subnets()["Subnets"]
    needed = {
        "vpc_id": cloud.vpc,
        "fleet_subnet_ids": [subnet["SubnetId"] for subnet in subnets[:2]],
        "fleet_bucket": BUCKET,
        "certificates_provided_certificate": os.path.relpath(home / "certificate", ROOT),
        "certificates_provided_private_key": os.path.relpath(home / "private_key", ROOT),
        "proxy_settings": {"models": {"llama": {"endpoint": "llama-blue"}}},
    }
    story = Story(Stack(cloud.environment(home), home, "fleet.yml", seconds=300), cloud)
    story.act("check of a new fleet", needed, "--check", says_key_file=False)
    with hosts(cloud):
        story.act("creation", needed, "-vvv")
        story.key_mode = stat.S_IMODE(story.play.key_file.stat().st_mode)
        story.act("the same again", {})
        endings.append("Failed")
        story.act("change that fails", CHANGE | SOON, ok=False)
        refreshes[0]["Status"] = "InProgress"  # by somebody else, and without an end
        story.act("change", {})
        story.act("another port", {"proxy_port": 9000}, ok=False)
        story.act("a guessable key", {"api_keys_list": [{"name": "a", "key": "hunter2"}]}, ok=False)
        others = {"api_keys_list": [{"name": "a", "sha256": "0" * 64}]}
        story.act("keys without the one", others, ok=False)
        story.act("environment", {"proxy_environment": {"NO_PROXY": "example.com"}})
    rotate = "rotate_fleet_keys.yml"
    story.act("rotation that no host takes", {**SOON}, of=rotate, ok=False)
    with hosts(cloud):
        story.act("rotation", {}, "-vvv", of=rotate)
    story.act("deletion", {"state": "absent"})
    return story


def test_check_makes_nothing_but_tells_what_it_would(story: Story) -> None:
    assert story.stacks["check of a new fleet"] == {}
    assert f"The stack {NAME} is new." in story.plays["check of a new fleet"].output
    assert story.plays["check of a new fleet"].changed > 0
    assert "check of a new fleet" not in story.secrets
    assert story.keys["check of a new fleet"] == ""


def test_it_makes_the_stack_with_the_release_that_it_has_put_into_the_bucket(story: Story) -> None:
    stack = story.stacks["creation"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    version = stack["Parameters"]["ReleaseVersion"]
    key = f"sagemaker-proxy/{version}.tar"
    body = story.cloud.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    digest = subprocess.run(["sha256sum"], input=body, capture_output=True, check=True).stdout
    assert digest.split()[0].decode() == stack["Parameters"]["ReleaseSha256"]
    assert "hosts in service: 2" in story.plays["creation"].output
    assert stack["Outputs"]["Url"] in story.plays["creation"].output


def test_hosts_get_hashes_of_keys_a_certificate_and_settings_by_a_secret(story: Story) -> None:
    secret = story.secrets["creation"]
    assert secret["api_keys_list"] == [
        {"name": "default", "sha256": hash_key(story.keys["creation"])}
    ]
    assert "BEGIN CERTIFICATE" in secret["certificates_provided_certificate_content"]
    assert "PRIVATE KEY" in secret["certificates_provided_private_key_content"]
    assert secret["proxy_settings"] == {"models": {"llama": {"endpoint": "llama-blue"}}}
    assert re.fullmatch("[0-9a-f]{64}", secret["fleet_seal_key"])
    assert story.key_mode == 0o600


def test_no_play_shows_a_key_not_even_at_vvv(story: Story) -> None:
    private = story.secrets["creation"]["certificates_provided_private_key_content"].splitlines()[1]
    seal_key = story.secrets["creation"]["fleet_seal_key"]
    for play in story.plays.values():
        for secret in (story.keys["creation"], story.keys["rotation"], private, seal_key):
            assert secret not in play.output


def test_a_second_run_changes_nothing(story: Story) -> None:
    assert story.plays["the same again"].changed == 0
    assert story.stacks["the same again"] == story.stacks["creation"]
    assert story.secrets["the same again"] == story.secrets["creation"]
    assert story.refreshes["the same again"] == 0


def test_a_change_keeps_what_is_not_said_and_replaces_the_hosts(story: Story) -> None:
    before, after = (story.stacks[name]["Parameters"] for name in ("creation", "change"))
    # moto says what is empty in two ways, if it is a list.
    changed = {name for name in before if before[name].strip("[]'") != after[name].strip("[]'")}
    assert changed == {"MaxSize", "InstanceType"}
    assert refreshes[0]["Preferences"] == {
        "MinHealthyPercentage": 100,
        "MaxHealthyPercentage": 110,
        "SkipMatching": True,
    }
    assert story.versions["creation"] == ["1", "1"]
    assert story.versions["change"] == ["2", "2"]


def test_a_replacement_that_fails_is_told_and_the_next_run_begins_another(story: Story) -> None:
    failed = story.plays["change that fails"]
    assert "The group has not replaced the hosts: Failed." in failed.message
    assert story.versions["change that fails"] == ["1", "1"]
    assert story.refreshes["change that fails"] == 1
    # One that was under way was ended for it.
    assert story.refreshes["change"] == 2
    assert refreshes[-1]["Status"] == "Cancelled"


def test_what_clients_reach_is_not_replaced_unasked(story: Story) -> None:
    assert "AWS::ElasticLoadBalancingV2::TargetGroup" in story.plays["another port"].message
    assert story.stacks["another port"] == story.stacks["change"]


def test_keys_are_looked_over_before_anybody_has_them(story: Story) -> None:
    refused = story.plays["a guessable key"].output
    assert "a: key is no UUID4" in refused
    assert "hunter2" not in refused
    assert "would end now" in story.plays["keys without the one"].message
    assert story.secrets["keys without the one"] == story.secrets["change"]


def test_what_the_service_starts_with_comes_by_new_hosts(story: Story) -> None:
    assert story.secrets["environment"]["proxy_environment"] == {"NO_PROXY": "example.com"}
    assert story.refreshes["environment"] == story.refreshes["change"] + 1


def test_a_rotation_puts_the_new_hash_beside_the_old_one(story: Story) -> None:
    old, new = story.keys["environment"], story.keys["rotation"]
    assert old != new
    (entry,) = story.secrets["rotation"]["api_keys_list"]
    assert (entry["sha256"], entry["previous_sha256"]) == (hash_key(new), hash_key(old))
    assert entry["previous_expires"] > "2026"
    rest = dict.fromkeys(["api_keys_list"])
    assert story.secrets["rotation"] | rest == story.secrets["environment"] | rest
    assert not story.play.key_file.with_name("key.next").exists()


def test_a_key_becomes_the_key_when_every_host_has_told_that_it_has_it(story: Story) -> None:
    name = "rotation that no host takes"
    told = r"Not every host has taken the secret: i-\w+, i-\w+ has what it had"
    assert re.search(told, story.plays[name].message)
    assert story.keys[name] == story.keys["environment"]
    # Played again, it goes on with the key that it had made.
    assert story.secrets["rotation"] == story.secrets[name]
    assert "2 hosts have taken the secret" in story.plays["rotation"].output
    assert "Every host has taken the new key" in story.plays["rotation"].output


def test_it_deletes_the_stack_and_leaves_bucket_and_secret(story: Story) -> None:
    assert story.stacks["deletion"] == {}
    assert story.secrets["deletion"] == story.secrets["rotation"]


def test_without_a_certificate_tls_is_not_passed_through(fresh: Cloud, home: Path) -> None:
    play = Stack(fresh.environment(home), home, "fleet.yml")
    places = {"vpc_id": fresh.vpc, "fleet_subnet_ids": fresh.subnet, "fleet_bucket": BUCKET}
    assert "which need a certificate" in play(places, ok=False).message
    refused = play({}, ok=False).message
    assert "A new fleet needs vpc_id, fleet_subnet_ids, fleet_bucket" in refused


def test_the_same_code_is_packed_into_the_same_bytes(tmp_path: Path) -> None:
    line = ["make", "--silent", "release", f"ANSIBLE_PYTHON={ROOT / '.venv/bin/python'}"]
    release = ROOT / ".release/x86_64.json"
    with exclusively(ROOT):
        subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
        first = release.read_text()
        os.utime(ROOT / "proxy/__init__.py")
        subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
    assert release.read_text() == first
