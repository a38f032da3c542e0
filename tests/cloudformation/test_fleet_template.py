"""The template of a fleet: what it shares with that of one instance, and what it adds."""

import base64
import json
import re
from typing import Any

import pytest
import yaml

from tests.cloudformation.commands import ROOT
from tests.cloudformation.permissions import actions, may, policies, role
from tests.cloudformation.template import FLEET, NEEDED_BY_FLEET, Resolved, read, resolve
from tests.cloudformation.template import resolve_fleet as fleet
from tests.emulator.names import ACCOUNT

PARAMETERS = read(FLEET)["Parameters"]
OF_ONE = read()["Parameters"]
CERTIFICATE = f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/{'0' * 8}-0000-4000-8000-{'0' * 12}"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:operators"
SHARED_CONDITIONS = ("HasAsyncBucket", "HasImage", "IsArm", "UsesSessionManager")
ADDED_ACTIONS = {
    "s3:GetObject",
    "secretsmanager:GetSecretValue",
    "autoscaling:CompleteLifecycleAction",
    "ec2:CreateTags",
}
VALKEY = "<Valkey.PrimaryEndPoint.Address>:6379"


def only(stack: Resolved, kind: str) -> dict[str, Any]:
    """The properties of the one resource of a type."""
    (properties,) = stack.of_type(kind).values()
    found: dict[str, Any] = properties
    return found


def launched(stack: Resolved) -> dict[str, Any]:
    found: dict[str, Any] = only(stack, "AWS::EC2::LaunchTemplate")["LaunchTemplateData"]
    return found


def attributes(of: dict[str, Any], name: str) -> dict[str, str]:
    return {item["Key"]: item["Value"] for item in of[name]}


def user_data(stack: Resolved) -> str:
    return base64.b64decode(launched(stack)["UserData"]).decode()


# What both templates say


def test_what_both_ask_for_is_asked_in_the_same_words() -> None:
    shared = PARAMETERS.keys() & OF_ONE.keys()
    assert {name for name in shared if PARAMETERS[name] != OF_ONE[name]} == {
        "VpcId",  # of the instance there, of all of it here
        "KeyName",  # needed there
        "ImageId",  # a newer one replaces the instance there, and rolls over the fleet here
        "InstanceType",  # the default
        "SessionManager",  # one host there, several here
    }
    for name in shared - {"VpcId", "KeyName", "SessionManager"}:
        for rule in ("Type", "AllowedPattern", "AllowedValues", "ConstraintDescription"):
            assert PARAMETERS[name].get(rule) == OF_ONE[name].get(rule)


def test_what_both_decide_is_decided_alike() -> None:
    here, there = read(FLEET)["Conditions"], read()["Conditions"]
    assert [here[name] for name in SHARED_CONDITIONS] == [there[name] for name in SHARED_CONDITIONS]


@pytest.mark.parametrize("said", [{}, {"EndpointNamePattern": "llama-*"}, {"AsyncBucket": "b-1"}])
def test_the_role_may_call_what_that_of_one_instance_may(said: dict[str, str]) -> None:
    here = [policy for policy in policies(fleet(**said)) if policy not in policies(resolve(**said))]
    assert [policy["PolicyName"] for policy in role(fleet())["Policies"]] == [
        *(policy["PolicyName"] for policy in role(resolve())["Policies"]),
        "join",
    ]
    assert len(here) == 1  # what it needs to join
    assert actions(fleet(**said)) == actions(resolve(**said)) | ADDED_ACTIONS


def test_the_role_which_reads_secrets_is_instances_alone() -> None:
    here, there = (role(each)["AssumeRolePolicyDocument"] for each in (fleet(), resolve()))
    (statement,) = here["Statement"]
    assert statement["Principal"] == {"Service": ["ec2.amazonaws.com"]}
    assert there["Statement"] == [{**statement, "Principal": there["Statement"][0]["Principal"]}]


@pytest.mark.parametrize("name", ["ManagedPolicyArns", "Description"])
@pytest.mark.parametrize("session_manager", ["true", "false"])
def test_the_role_is_that_of_one_instance_otherwise(name: str, session_manager: str) -> None:
    said = {"SessionManager": session_manager}
    assert role(fleet(**said)).get(name) == role(resolve(**said)).get(name)


@pytest.mark.parametrize(
    "said",
    [
        {"InstanceType": "c6i.large"},
        {"InstanceType": "c7g.large", "VolumeSize": "20"},
        {"InstanceType": "t3.micro", "ImageId": "ami-0123456789abcdef0"},
    ],
)
def test_an_instance_is_made_as_one_alone_is(said: dict[str, str]) -> None:
    here, there = launched(fleet(**said)), only(resolve(**said), "AWS::EC2::Instance")
    for name in ("ImageId", "InstanceType", "MetadataOptions", "BlockDeviceMappings"):
        assert here[name] == there[name]
    assert here["SecurityGroupIds"] == there["SecurityGroupIds"]
    assert here["IamInstanceProfile"] == {"Arn": "<InstanceProfile.Arn>"}
    assert [item["Tags"] for item in here["TagSpecifications"]] == [there["Tags"], there["Tags"]]


def test_it_may_leave_by_the_same_ways_and_to_valkey() -> None:
    here = fleet().of_type("AWS::EC2::SecurityGroup")["SecurityGroup"]
    assert here == resolve().of_type("AWS::EC2::SecurityGroup")["SecurityGroup"]
    rule = only(fleet(), "AWS::EC2::SecurityGroupEgress")
    assert (rule["FromPort"], rule["ToPort"]) == (6379, 6379)
    assert rule["DestinationSecurityGroupId"] == "<ValkeySecurityGroup.GroupId>"


# What an instance needs to join


def test_it_may_read_the_releases_and_nothing_else_of_the_bucket() -> None:
    assert may(fleet(), "s3:GetObject", "arn:aws:s3:::releases/sagemaker-proxy/1.tar")
    assert not may(fleet(), "s3:GetObject", "arn:aws:s3:::releases/payroll.csv")
    assert not may(fleet(), "s3:GetObject", "arn:aws:s3:::payroll/sagemaker-proxy/1.tar")


def test_it_may_read_two_secrets_and_no_other() -> None:
    for secret in (NEEDED_BY_FLEET["HostSecret"], "<ValkeySecret>"):
        assert may(fleet(), "secretsmanager:GetSecretValue", secret)
    other = NEEDED_BY_FLEET["HostSecret"].replace("fleet", "payroll")
    assert not may(fleet(), "secretsmanager:GetSecretValue", other)


def test_it_may_tell_its_own_group_how_it_is_doing() -> None:
    action = "autoscaling:CompleteLifecycleAction"
    groups = f"arn:aws:autoscaling:us-east-1:{ACCOUNT}:autoScalingGroup:1a2b:autoScalingGroupName"
    assert may(fleet(), action, f"{groups}/sagemaker-proxy")
    assert not may(fleet(), action, f"{groups}/payroll")


def test_it_may_tell_by_one_tag_of_its_own_groups_instances_what_it_has_taken() -> None:
    (policy,) = [each for each in role(fleet())["Policies"] if each["PolicyName"] == "join"]
    (statement,) = [
        each
        for each in policy["PolicyDocument"]["Statement"]
        if each["Action"] == ["ec2:CreateTags"]
    ]
    assert statement["Resource"] == f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/*"
    assert statement["Condition"] == {  # which moto does not look at
        "StringEquals": {"aws:ResourceTag/aws:autoscaling:groupName": "sagemaker-proxy"},
        "ForAllValues:StringEquals": {"aws:TagKeys": ["HostSecretVersion"]},
    }


def test_its_first_words_are_of_bash_and_have_nothing_secret() -> None:
    text = user_data(fleet())
    assert text.startswith("#!/bin/bash\n")
    assert len(text) < 16 * 1024  # EC2's bound
    assert "resolve:" not in text
    assert NEEDED_BY_FLEET["HostSecret"] in text  # its name, not what is in it
    assert '"fleet_valkey_secret": "<ValkeySecret>"' in text


def test_it_takes_one_release_by_version_and_checksum() -> None:
    text = user_data(fleet())
    version, checksum = NEEDED_BY_FLEET["ReleaseVersion"], NEEDED_BY_FLEET["ReleaseSha256"]
    assert f"s3://releases/sagemaker-proxy/{version}.tar" in text
    assert text.index(f"{checksum}  release.tar") < text.index("tar --extract")


def test_what_it_tells_itself_is_json() -> None:
    stack = fleet(AsyncBucket="payloads", Port="8443", DrainSeconds="60")
    (said,) = re.findall(r"<<END\n(.*?)^END$", user_data(stack), re.DOTALL | re.MULTILINE)
    assert json.loads(said) == {
        "fleet_region": "us-east-1",
        "fleet_instance": "$instance",  # which the shell replaces
        "fleet_secret": NEEDED_BY_FLEET["HostSecret"],
        "fleet_valkey": VALKEY,
        "fleet_valkey_secret": "<ValkeySecret>",
        "fleet_drain_seconds": 60,
        "fleet_async_bucket": "payloads",
        "proxy_port": 8443,
    }


def test_another_release_is_another_version_of_the_launch_template() -> None:
    assert launched(fleet()) != launched(fleet(ReleaseSha256="0" * 64))
    assert launched(fleet()) != launched(fleet(HostStart="0" * 64))
    group = only(fleet(), "AWS::AutoScaling::AutoScalingGroup")
    assert group["LaunchTemplate"]["Version"] == "<LaunchTemplate.LatestVersionNumber>"


# The group


def test_an_instance_is_in_no_service_before_it_has_told_that_it_is_ready() -> None:
    group = only(fleet(), "AWS::AutoScaling::AutoScalingGroup")
    (hook,) = group["LifecycleHookSpecificationList"]
    assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_LAUNCHING"
    assert hook["DefaultResult"] == "ABANDON"
    text = user_data(fleet())
    assert f"--lifecycle-hook-name {hook['LifecycleHookName']}" in text
    assert f'--auto-scaling-group-name "{group["AutoScalingGroupName"]}"' in text


def test_it_is_over_all_subnets_and_as_large_as_is_said() -> None:
    group = only(
        fleet(MinSize="3", MaxSize="9", WarmupSeconds="60"), "AWS::AutoScaling::AutoScalingGroup"
    )
    assert group["VPCZoneIdentifier"] == ["subnet-1", "subnet-2"]
    assert [int(group[name]) for name in ("MinSize", "MaxSize", "DefaultInstanceWarmup")] == [
        *(3, 9, 60)
    ]
    assert "DesiredCapacity" not in group  # which is the scaling's


def test_new_ones_come_before_old_ones_go() -> None:
    group = only(fleet(), "AWS::AutoScaling::AutoScalingGroup")
    assert group["InstanceMaintenancePolicy"]["MinHealthyPercentage"] == 100
    assert group["InstanceMaintenancePolicy"]["MaxHealthyPercentage"] > 100


def test_it_grows_with_cpu_and_with_connections() -> None:
    stack = fleet(TargetCpu="40", TargetConnections="250")
    policies = stack.of_type("AWS::AutoScaling::ScalingPolicy")
    cpu = policies["CpuScaling"]["TargetTrackingConfiguration"]
    assert cpu["PredefinedMetricSpecification"] == {
        "PredefinedMetricType": "ASGAverageCPUUtilization"
    }
    connections = policies["ConnectionScaling"]["TargetTrackingConfiguration"]
    assert (float(cpu["TargetValue"]), float(connections["TargetValue"])) == (40, 250)
    metrics = {item["Id"]: item for item in connections["CustomizedMetricSpecification"]["Metrics"]}
    (shown,) = [item for item in metrics.values() if item["ReturnData"]]
    assert shown["Expression"] == "connections / instances"
    counted = {name: metrics[name]["MetricStat"]["Metric"] for name in ("connections", "instances")}
    assert counted["connections"]["MetricName"] == "ActiveFlowCount"
    (collected,) = only(stack, "AWS::AutoScaling::AutoScalingGroup")["MetricsCollection"]
    assert counted["instances"]["MetricName"] in collected["Metrics"]


# The load balancer


def test_tls_is_passed_through_unless_a_certificate_is_given() -> None:
    for said, protocol in (({}, "TCP"), ({"CertificateArn": CERTIFICATE}, "TLS")):
        listener = only(fleet(**said), "AWS::ElasticLoadBalancingV2::Listener")
        target = only(fleet(**said), "AWS::ElasticLoadBalancingV2::TargetGroup")
        assert (listener["Protocol"], target["Protocol"]) == (protocol, protocol)
        assert listener.get("Certificates") == ([{"CertificateArn": CERTIFICATE}] if said else None)
        assert ("SslPolicy" in listener) is bool(said)


def test_who_is_not_ready_is_asked_for_by_https() -> None:
    target = only(fleet(), "AWS::ElasticLoadBalancingV2::TargetGroup")
    assert (target["HealthCheckProtocol"], target["HealthCheckPath"]) == ("HTTPS", "/readyz")
    assert target["Matcher"] == {"HttpCode": "200"}
    assert only(fleet(), "AWS::AutoScaling::AutoScalingGroup")["HealthCheckType"] == "ELB"


def test_an_instance_that_goes_has_as_long_as_its_proxy_takes_to_drain() -> None:
    stack = fleet(DrainSeconds="90")
    target = only(stack, "AWS::ElasticLoadBalancingV2::TargetGroup")
    found = attributes(target, "TargetGroupAttributes")
    assert int(found["deregistration_delay.timeout_seconds"]) == 90
    assert '"fleet_drain_seconds": 90' in user_data(stack)
    assert found["deregistration_delay.connection_termination.enabled"] == "false"
    assert found["target_health_state.unhealthy.connection_termination.enabled"] == "false"


def test_it_is_where_it_is_said_to_be() -> None:
    balancer = only(fleet(), "AWS::ElasticLoadBalancingV2::LoadBalancer")
    assert (balancer["Scheme"], balancer["Subnets"]) == (
        "internet-facing",
        ["subnet-1", "subnet-2"],
    )
    said = {"Internal": "true", "LoadBalancerSubnetIds": "subnet-8,subnet-9"}
    balancer = only(fleet(**said), "AWS::ElasticLoadBalancingV2::LoadBalancer")
    assert (balancer["Scheme"], balancer["Subnets"]) == ("internal", ["subnet-8", "subnet-9"])


def test_clients_reach_it_and_nobody_reaches_an_instance_around_it() -> None:
    stack = fleet(ClientCidr="198.51.100.0/24", ListenerPort="8443")
    groups = stack.of_type("AWS::EC2::SecurityGroup")
    (rule,) = groups["LoadBalancerSecurityGroup"]["SecurityGroupIngress"]
    assert (rule["FromPort"], rule["CidrIp"]) == (8443, "198.51.100.0/24")
    (rule,) = stack.of_type("AWS::EC2::SecurityGroupIngress").values()
    assert (rule["FromPort"], rule["ToPort"]) == (8000, 8000)
    assert rule["SourceSecurityGroupId"] == "<LoadBalancerSecurityGroup.GroupId>"


@pytest.mark.parametrize(
    ("said", "opens"),
    [
        ({"KeyName": "my-key", "SshCidr": "203.0.113.4/32"}, True),
        ({"KeyName": "my-key", "SessionManager": "true"}, False),
        ({}, False),
    ],
)
def test_ssh_is_open_only_for_a_key_pair(said: dict[str, str], opens: bool) -> None:
    rules = fleet(**said).of_type("AWS::EC2::SecurityGroupIngress")
    assert ("SshIngress" in rules) is opens
    assert launched(fleet(**said)).get("KeyName") == said.get("KeyName")


# Valkey


def test_valkey_is_encrypted_and_asks_for_a_password_that_is_made_for_it() -> None:
    valkey = only(fleet(), "AWS::ElastiCache::ReplicationGroup")
    assert valkey["Engine"] == "valkey"
    assert valkey["AtRestEncryptionEnabled"] is True
    assert valkey["TransitEncryptionEnabled"] is True
    assert valkey["TransitEncryptionMode"] == "required"
    assert valkey["AuthToken"] == "{{resolve:secretsmanager:<ValkeySecret>:SecretString}}"
    made = fleet().of_type("AWS::SecretsManager::Secret")["ValkeySecret"]["GenerateSecretString"]
    assert made == {"PasswordLength": 64, "ExcludePunctuation": True}


def test_the_instances_alone_reach_it() -> None:
    group = fleet().of_type("AWS::EC2::SecurityGroup")["ValkeySecurityGroup"]
    (rule,) = group["SecurityGroupIngress"]
    assert (rule["FromPort"], rule["SourceSecurityGroupId"]) == (6379, "<SecurityGroup.GroupId>")
    assert [rule["CidrIp"] for rule in group["SecurityGroupEgress"]] == ["127.0.0.1/32"]


@pytest.mark.parametrize(("replica", "nodes"), [("true", 2), ("false", 1)])
def test_it_has_a_second_node_that_takes_over_if_it_is_to(replica: str, nodes: int) -> None:
    valkey = only(fleet(ValkeyReplica=replica), "AWS::ElastiCache::ReplicationGroup")
    assert valkey["NumCacheClusters"] == nodes
    assert valkey["AutomaticFailoverEnabled"] is valkey["MultiAZEnabled"] is (nodes == 2)


def test_it_is_in_subnets_of_its_own_if_there_are_any() -> None:
    found = only(fleet(), "AWS::ElastiCache::SubnetGroup")["SubnetIds"]
    assert found == ["subnet-1", "subnet-2"]
    stack = fleet(ValkeySubnetIds="subnet-6,subnet-7")
    assert only(stack, "AWS::ElastiCache::SubnetGroup")["SubnetIds"] == ["subnet-6", "subnet-7"]


# Alarms and outputs


def test_alarms_go_to_the_topic_if_there_is_one() -> None:
    alarms = fleet(AlarmTopicArn=TOPIC).of_type("AWS::CloudWatch::Alarm")
    assert len(alarms) == 6
    for name, alarm in alarms.items():
        assert (alarm["AlarmActions"], alarm["OKActions"]) == ([TOPIC], [TOPIC]), name
        assert "sagemaker-proxy" in alarm["AlarmDescription"]
    for alarm in fleet().of_type("AWS::CloudWatch::Alarm").values():
        assert not alarm.keys() & {"AlarmActions", "OKActions"}


def test_an_alarm_tells_of_too_few_and_of_no_more_to_be_had() -> None:
    alarms = fleet(MinSize="3", MaxSize="9").of_type("AWS::CloudWatch::Alarm")
    assert int(alarms["TooFewAlarm"]["Threshold"]) == 3
    assert alarms["TooFewAlarm"]["TreatMissingData"] == "breaching"
    assert int(alarms["FullAlarm"]["Threshold"]) == 9


def test_the_outputs_tell_where_it_is_and_what_fleet_yml_waits_for() -> None:
    assert fleet(ListenerPort="8443").outputs == {
        "Url": "https://<LoadBalancer.DNSName>:8443",
        "LoadBalancerDNS": "<LoadBalancer.DNSName>",
        "LoadBalancerZone": "<LoadBalancer.CanonicalHostedZoneID>",
        "Group": "<Group>",
        "TargetGroupArn": "<TargetGroup>",
        "LaunchTemplateId": "<LaunchTemplate>",
        "LaunchTemplateVersion": "<LaunchTemplate.LatestVersionNumber>",
        "RoleArn": "<Role.Arn>",
        "SecurityGroupId": "<SecurityGroup.GroupId>",
        "ValkeyId": "<Valkey>",
        "ValkeyAddress": VALKEY,
        "ValkeySecretArn": "<ValkeySecret>",
    }


@pytest.mark.parametrize(
    ("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_it_is_the_same_in_other_partitions(region: str, partition: str) -> None:
    stack = fleet(region, AsyncBucket="payloads", SessionManager="true")
    text = json.dumps([policies(stack), role(stack)])
    found = set(re.findall(r"arn:([a-z-]+):", text.replace(NEEDED_BY_FLEET["HostSecret"], "")))
    assert found == {partition}


# The parameters


def test_these_are_all_that_it_needs() -> None:
    needed = {name for name, parameter in PARAMETERS.items() if "Default" not in parameter}
    assert needed == NEEDED_BY_FLEET.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_each_is_described_labelled_and_in_a_group(name: str) -> None:
    console = read(FLEET)["Metadata"]["AWS::CloudFormation::Interface"]
    groups = [group for group in console["ParameterGroups"] if name in group["Parameters"]]
    assert len(groups) == 1
    assert console["ParameterLabels"][name]["default"]
    assert PARAMETERS[name]["Description"]


@pytest.mark.parametrize("name", PARAMETERS)
def test_each_that_is_bounded_says_in_words_how(name: str) -> None:
    bounds = {"AllowedPattern", "AllowedValues", "MinValue", "MaxValue", "MinLength", "MaxLength"}
    if bounds & PARAMETERS[name].keys():
        assert PARAMETERS[name]["ConstraintDescription"].startswith("must be ")


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("ReleaseBucket", ["my.bucket-1"], ["", "My", "a/b", "s3://bucket"]),
        ("ReleaseVersion", ["0.1.0-0123456789ab"], ["", "a/b", "../x", "a b", '"', "$(id)"]),
        ("ReleaseSha256", ["0a" * 32], ["", "0A" * 32, "0a" * 31]),
        ("HostStart", ["", "0a" * 32], ["0A" * 32, "0a" * 31]),
        ("HostSecret", [NEEDED_BY_FLEET["HostSecret"]], ["", "fleet", 'arn:aws:s3:::b"']),
        ("CertificateArn", [CERTIFICATE, ""], ["my.pem", "arn:aws:iam::1:server-certificate/x"]),
        ("AlarmTopicArn", [TOPIC, ""], ["operators", "me@example.com"]),
        ("ValkeyNodeType", ["cache.t4g.small", "cache.r7g.2xlarge"], ["t4g.small", ""]),
    ],
)
def test_each_pattern_takes_what_is_right_and_nothing_wrong(
    name: str, right: list[str], wrong: list[str]
) -> None:
    pattern = PARAMETERS[name]["AllowedPattern"]
    assert [value for value in right if not re.fullmatch(pattern, value)] == []
    assert [value for value in wrong if re.fullmatch(pattern, value)] == []


# What the README says of them


def test_every_parameter_has_a_variable_that_the_readme_tells_with_its_default() -> None:
    said = yaml.safe_load((ROOT / "playbooks/vars/fleet.yml").read_text())
    variables: dict[str, str] = said["stack_variables"]
    unsaid = {"LatestImageX86", "LatestImageArm", *said["fleet_own_parameters"]}
    assert variables.keys() == PARAMETERS.keys() - unsaid
    section = (ROOT / "README.md").read_text().partition("\n### The fleet's stack\n")[2]
    told: dict[str, str] = {}
    for line in section.partition("\n### ")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and (names := re.findall(r"`(\w+)`", cells[0])):
            defaults = re.findall(r"`([^`]*)`", cells[1]) or [""] * len(names)
            told.update(zip(names, defaults, strict=True))
    for name, variable in variables.items():
        default = str(PARAMETERS[name].get("Default", ""))
        assert told[variable] == (default or ('""' if "Default" in PARAMETERS[name] else ""))
    assert told.keys() == set(variables.values())
