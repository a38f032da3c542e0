"""A host leaves its target group before a change, unless it is the last, and joins it again."""

from collections.abc import Iterator

import pytest

from tests.cloudformation.cloud import Cloud
from tests.fleet.fleet import Fleet
from tests.testhost.playbook import Outcome, play

pytestmark = pytest.mark.timeout(600, func_only=True)

LEAVE, JOIN = "proxy : Leave the target group", "proxy : Join the target group"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud() as cloud:
        yield cloud


@pytest.fixture
def group(cloud: Cloud, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> str:
    """A target group with two of the hosts in it, by its name in AWS."""
    for name, value in cloud.client_environment().items():
        monkeypatch.setenv(name, value)
    elb = cloud.client("elbv2")
    group = {"Name": "hosts", "Protocol": "TCP", "Port": 8000, "TargetType": "ip"}
    made = elb.create_target_group(**group, VpcId=cloud.vpc)
    arn = str(made["TargetGroups"][0]["TargetGroupArn"])
    subnets = [elb_subnet["SubnetId"] for elb_subnet in subnets_of(cloud)]
    balancer = elb.create_load_balancer(Name="balancer", Type="network", Subnets=subnets)
    elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"],
        Protocol="TCP",
        Port=443,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
    )
    hosts = list(fleet.services.values())[:2]
    targets = [{"Id": service.host.address} for service in hosts]
    elb.register_targets(TargetGroupArn=arn, Targets=targets)
    return arn


def subnets_of(cloud: Cloud) -> list[dict[str, str]]:
    found: list[dict[str, str]] = cloud.client("ec2").describe_subnets()["Subnets"][:2]
    return found


def change(fleet: Fleet, arn: str, *names: str, seconds: int) -> Outcome:
    """Play site.yml on these hosts, with another setting."""
    first, *others = [fleet.services[name].host for name in names]
    server = {"server": {"idle_timeout_seconds": seconds}}
    settings = {"proxy_settings": server, "proxy_target_group_arn": arn}
    return play(first, "site.yml", variables={**fleet.variables, **settings}, others=others)


def moves(outcome: Outcome) -> list[str]:
    return [task for task in outcome.changed_tasks if task in (LEAVE, JOIN)]


def test_each_leaves_and_joins_before_the_next_does(fleet: Fleet, cloud: Cloud, group: str) -> None:
    outcome = change(fleet, group, "one", "two", seconds=301)
    assert moves(outcome) == [LEAVE, JOIN, LEAVE, JOIN]
    elb = cloud.client("elbv2")
    found = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert {each["Target"]["Id"]: each["TargetHealth"]["State"] for each in found} == {
        fleet.services[name].host.address: "healthy" for name in ("one", "two")
    }
    # One alone stays: a reload drops nothing, and there is nobody else.
    elb.deregister_targets(
        TargetGroupArn=group, Targets=[{"Id": fleet.services["two"].host.address}]
    )
    outcome = change(fleet, group, "one", seconds=302)
    assert moves(outcome) == []
    assert "proxy : Start, restart or reload the service" in outcome.changed_tasks
