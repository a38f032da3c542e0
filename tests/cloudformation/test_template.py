"""The template: what the role may do, who reaches the host, and what the host is."""

import json
import re
from typing import Any

import pytest

from tests.cloudformation.permissions import actions, may, policies, role
from tests.cloudformation.template import KEY, Resolved, read, resolve
from tests.emulator.names import ACCOUNT

PARAMETERS = read()["Parameters"]
EVERYBODY = "0.0.0.0/0"
X86 = "</aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64>"
ARM = "</aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64>"

ALWAYS = {
    "sagemaker:InvokeEndpoint",
    "sagemaker:InvokeEndpointAsync",
    "sagemaker:InvokeEndpointWithResponseStream",
    "sagemaker:ListEndpoints",
    "sagemaker:ListInferenceComponents",
    "sagemaker:DescribeEndpoint",
    "sagemaker:DescribeEndpointConfig",
    "sagemaker:DescribeInferenceComponent",
    "sagemaker:DescribeModel",
}


def sagemaker(resource: str, region: str = "us-east-1", account: str = ACCOUNT) -> str:
    return f"arn:aws:sagemaker:{region}:{account}:{resource}"


def instance(stack: Resolved) -> dict[str, Any]:
    (properties,) = stack.of_type("AWS::EC2::Instance").values()
    found: dict[str, Any] = properties
    return found


def open_ports(stack: Resolved) -> dict[int, str]:
    """Which ports are open, and to whom."""
    ports = {}
    for rule in stack.of_type("AWS::EC2::SecurityGroupIngress").values():
        assert rule["GroupId"] == "<SecurityGroup.GroupId>"
        assert rule["IpProtocol"] == "tcp"
        assert rule["FromPort"] == rule["ToPort"]
        ports[rule["FromPort"]] = rule["CidrIp"]
    return ports


# The role


def test_the_role_may_do_this_and_nothing_else() -> None:
    assert actions(resolve()) == ALWAYS
    assert "ManagedPolicyArns" not in role(resolve())


@pytest.mark.parametrize(
    "action", ["InvokeEndpoint", "InvokeEndpointAsync", "InvokeEndpointWithResponseStream"]
)
@pytest.mark.parametrize("kind", ["endpoint", "inference-component"])
def test_it_may_call_what_is_under_the_pattern(action: str, kind: str) -> None:
    stack = resolve(EndpointNamePattern="llama-*")
    assert may(stack, f"sagemaker:{action}", sagemaker(f"{kind}/llama-3"))
    assert not may(stack, f"sagemaker:{action}", sagemaker(f"{kind}/payroll"))
    assert may(resolve(), f"sagemaker:{action}", sagemaker(f"{kind}/payroll"))


@pytest.mark.parametrize("where", [{"region": "eu-west-1"}, {"account": "210987654321"}])
def test_it_may_call_nothing_in_another_region_or_account(where: dict[str, str]) -> None:
    stack = resolve()
    for resource in ("endpoint/llama", "inference-component/llama"):
        assert not may(stack, "sagemaker:InvokeEndpoint", sagemaker(resource, **where))
    for action, resource in (
        ("DescribeEndpoint", "endpoint/llama"),
        ("DescribeEndpointConfig", "endpoint-config/llama"),
        ("DescribeModel", "model/llama"),
    ):
        assert not may(stack, f"sagemaker:{action}", sagemaker(resource, **where))


def test_it_may_describe_what_is_behind_an_endpoint_whatever_its_name() -> None:
    stack = resolve(EndpointNamePattern="llama-*")
    assert may(stack, "sagemaker:ListEndpoints", "*")
    assert may(stack, "sagemaker:DescribeEndpoint", sagemaker("endpoint/llama-3"))
    assert not may(stack, "sagemaker:DescribeEndpoint", sagemaker("endpoint/payroll"))
    describes = "sagemaker:DescribeInferenceComponent"
    assert may(stack, describes, sagemaker("inference-component/llama-3"))
    assert not may(stack, describes, sagemaker("inference-component/payroll"))
    assert may(stack, "sagemaker:DescribeEndpointConfig", sagemaker("endpoint-config/of-2026"))
    assert may(stack, "sagemaker:DescribeModel", sagemaker("model/of-2026"))


def test_only_lists_are_allowed_on_everything() -> None:
    stack = resolve(ApiKey=KEY, AsyncBucket="payloads", SessionManager="true")
    on_everything = [
        statement["Action"]
        for policy in policies(stack)
        for statement in policy["Statement"]
        if statement["Resource"] in ("*", ["*"])
    ]
    assert on_everything == [["sagemaker:ListEndpoints", "sagemaker:ListInferenceComponents"]]


def test_it_may_read_the_secret_only_when_a_key_made_one() -> None:
    stack = resolve(ApiKey=KEY)
    assert actions(stack) == ALWAYS | {"secretsmanager:GetSecretValue"}
    assert may(stack, "secretsmanager:GetSecretValue", "<Secret>")
    assert not may(stack, "secretsmanager:GetSecretValue", "<Another>")


def test_it_may_use_s3_only_when_a_bucket_is_given_and_only_that_one() -> None:
    stack = resolve(AsyncBucket="payloads")
    assert actions(stack) == ALWAYS | {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}
    assert may(stack, "s3:GetObject", "arn:aws:s3:::payloads/in/1.json")
    assert not may(stack, "s3:GetObject", "arn:aws:s3:::payroll/in/1.json")
    assert not may(stack, "s3:PutObject", "arn:aws:s3:::payloads")
    assert may(stack, "s3:ListBucket", "arn:aws:s3:::payloads")
    assert not may(stack, "s3:ListBucket", "arn:aws:s3:::payroll")


def test_session_manager_is_allowed_only_when_it_is_chosen() -> None:
    stack = resolve(SessionManager="true")
    assert actions(stack) == ALWAYS
    managed = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
    assert role(stack)["ManagedPolicyArns"] == [managed]


def test_ec2_and_sagemaker_may_assume_it() -> None:
    (statement,) = role(resolve())["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Effect"] == "Allow"
    assert statement["Action"] == "sts:AssumeRole"
    assert statement["Principal"] == {"Service": ["ec2.amazonaws.com", "sagemaker.amazonaws.com"]}


@pytest.mark.parametrize(
    ("region", "partition", "ec2"),
    [
        ("cn-north-1", "aws-cn", "ec2.amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "ec2.amazonaws.com"),
    ],
)
def test_it_is_the_same_in_other_partitions(region: str, partition: str, ec2: str) -> None:
    stack = resolve(region, ApiKey=KEY, AsyncBucket="payloads", SessionManager="true")
    text = json.dumps([policies(stack), role(stack)])
    arns = set(re.findall(r"arn:([a-z-]+):(\w+):([\w-]*):", text))
    assert arns == {
        (partition, "sagemaker", region),
        (partition, "s3", ""),
        (partition, "iam", ""),
    }
    assert ec2 in text


# The security group


def test_the_predecessors_ports_are_open_to_everybody_by_default() -> None:
    assert open_ports(resolve()) == {8000: EVERYBODY, 22: EVERYBODY}


def test_both_can_be_restricted() -> None:
    stack = resolve(ClientCidr="198.51.100.0/24", SshCidr="203.0.113.4/32", Port="443")
    assert open_ports(stack) == {443: "198.51.100.0/24", 22: "203.0.113.4/32"}


def test_session_manager_closes_port_22() -> None:
    assert open_ports(resolve(SessionManager="true")) == {8000: EVERYBODY}


def test_acme_opens_port_80_to_everybody() -> None:
    stack = resolve(AcmeChallenge="true", ClientCidr="198.51.100.0/24")
    assert open_ports(stack) == {8000: "198.51.100.0/24", 22: EVERYBODY, 80: EVERYBODY}


def test_the_host_itself_may_use_https_and_nothing_else() -> None:
    (group,) = resolve().of_type("AWS::EC2::SecurityGroup").values()
    assert "SecurityGroupIngress" not in group
    rules = group["SecurityGroupEgress"]
    assert {(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in rules} == {
        ("tcp", 443, 443)
    }
    assert [rule.get("CidrIp") or rule["CidrIpv6"] for rule in rules] == [EVERYBODY, "::/0"]


def test_every_rule_says_what_it_is_for_in_letters_that_ec2_takes() -> None:
    stack = resolve(AcmeChallenge="true")
    (group,) = stack.of_type("AWS::EC2::SecurityGroup").values()
    rules = [
        *stack.of_type("AWS::EC2::SecurityGroupIngress").values(),
        *group["SecurityGroupEgress"],
        {"Description": group["GroupDescription"]},
    ]
    assert len(rules) == 6
    for rule in rules:
        assert re.fullmatch(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{1,255}", rule["Description"])


# The instance


@pytest.mark.parametrize("kind", ["t3.micro", "t3a.small", "c7i-flex.large", "m7i.metal-24xl"])
def test_intel_and_amd_get_their_image(kind: str) -> None:
    assert instance(resolve(InstanceType=kind))["ImageId"] == X86


@pytest.mark.parametrize("kind", ["t4g.nano", "c7gn.medium", "im4gn.large", "x2gd.metal"])
def test_graviton_gets_its_own(kind: str) -> None:
    assert instance(resolve(InstanceType=kind))["ImageId"] == ARM


def test_an_image_that_is_said_is_used() -> None:
    stack = resolve(InstanceType="t4g.nano", ImageId="ami-0123456789abcdef0")
    assert instance(stack)["ImageId"] == "ami-0123456789abcdef0"


def test_metadata_needs_a_token_that_does_not_leave_the_host() -> None:
    options = instance(resolve())["MetadataOptions"]
    assert options == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


@pytest.mark.parametrize(("said", "size"), [({}, 8), ({"VolumeSize": "20"}, 20)])
def test_the_volume_is_encrypted_and_goes_with_the_instance(
    said: dict[str, str], size: int
) -> None:
    (volume,) = instance(resolve(**said))["BlockDeviceMappings"]
    assert volume["DeviceName"] == "/dev/xvda"  # Amazon Linux's root
    assert volume["Ebs"] == {
        "VolumeType": "gp3",
        "VolumeSize": size,
        "Encrypted": True,
        "DeleteOnTermination": True,
    }


def test_it_has_the_role_the_group_the_key_pair_and_a_name() -> None:
    stack = resolve()
    found = instance(stack)
    assert found["IamInstanceProfile"] == "<InstanceProfile>"
    assert stack.of_type("AWS::IAM::InstanceProfile")["InstanceProfile"]["Roles"] == ["<Role>"]
    assert found["SecurityGroupIds"] == ["<SecurityGroup.GroupId>"]
    assert (found["KeyName"], found["SubnetId"]) == ("my-key", "subnet-1")
    assert found["Tags"] == [{"Key": "Name", "Value": "sagemaker-proxy"}]
    assert found["PropagateTagsToVolumeOnCreation"] is True


def test_an_elastic_ip_is_there_only_when_it_is_chosen() -> None:
    assert resolve().of_type("AWS::EC2::EIP") == {}
    (address,) = resolve(ElasticIp="true").of_type("AWS::EC2::EIP").values()
    assert (address["Domain"], address["InstanceId"]) == ("vpc", "<Instance>")


# Outputs and secrets


def test_the_outputs_tell_where_it_is() -> None:
    assert resolve(Port="8443").outputs == {
        "PublicDNS": "<Instance.PublicDnsName>",
        "PublicIp": "<Instance.PublicIp>",
        "PrivateIp": "<Instance.PrivateIp>",
        "InstanceId": "<Instance>",
        "RoleArn": "<Role.Arn>",
        "SecurityGroupId": "<SecurityGroup.GroupId>",
        "Url": "https://<Instance.PublicDnsName>:8443",
    }


@pytest.mark.parametrize(
    ("region", "domain"),
    [
        ("us-east-1", "compute-1.amazonaws.com"),
        ("eu-west-1", "eu-west-1.compute.amazonaws.com"),
        ("cn-north-1", "cn-north-1.compute.amazonaws.com.cn"),
    ],
)
def test_with_an_elastic_ip_they_tell_its_address_and_name(region: str, domain: str) -> None:
    outputs = resolve(region, ElasticIp="true").outputs
    assert outputs["PublicIp"] == "<Address>"
    assert outputs["PublicDNS"] == f"ec2-<Address>.{domain}"
    assert outputs["Url"] == f"https://ec2-<Address>.{domain}:8000"


def test_the_key_is_in_the_secret_and_nowhere_else() -> None:
    stack = resolve(ApiKey=KEY)
    assert stack.of_type("AWS::SecretsManager::Secret")["Secret"]["SecretString"] == KEY
    assert stack.outputs["SecretArn"] == "<Secret>"
    del stack.resources["Secret"]
    assert KEY not in json.dumps([stack.resources, stack.outputs])
    assert PARAMETERS["ApiKey"]["NoEcho"] is True


def test_without_a_key_there_is_no_secret() -> None:
    assert resolve().of_type("AWS::SecretsManager::Secret") == {}


def test_nothing_runs_on_the_host_before_ansible() -> None:
    assert "UserData" not in instance(resolve(ApiKey=KEY))


# The parameters


def test_the_predecessors_are_all_that_it_needs() -> None:
    needed = {name for name, parameter in PARAMETERS.items() if "Default" not in parameter}
    assert needed == {"KeyName", "VpcId", "SubnetId"}


def test_aws_checks_what_it_has() -> None:
    assert PARAMETERS["KeyName"]["Type"] == "AWS::EC2::KeyPair::KeyName"
    assert PARAMETERS["VpcId"]["Type"] == "AWS::EC2::VPC::Id"
    assert PARAMETERS["SubnetId"]["Type"] == "AWS::EC2::Subnet::Id"
    for name in ("LatestImageX86", "LatestImageArm"):
        assert PARAMETERS[name]["Type"] == "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>"


@pytest.mark.parametrize("name", PARAMETERS)
def test_each_is_described_labelled_and_in_a_group(name: str) -> None:
    console = read()["Metadata"]["AWS::CloudFormation::Interface"]
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
        ("ApiKey", [KEY, KEY.upper()], [KEY.replace("-4", "-1"), KEY[:-1], f"{KEY}\n", "secret"]),
        ("ClientCidr", ["10.0.0.0/8", "203.0.113.4/32"], ["10.0.0.0", "10.0.0.0/33", "::/0"]),
        ("SshCidr", ["10.0.0.0/8", "203.0.113.4/32"], ["10.0.0.0", "10.0.0.0/33", "::/0"]),
        ("EndpointNamePattern", ["*", "llama-?", "a-1"], ["Llama", "a/*", "arn:aws:x"]),
        ("AsyncBucket", ["my.bucket-1"], ["My", "b", "a/b", "s3://bucket", "-a-"]),
        ("ImageId", ["ami-0123456789abcdef0"], ["latest", "ami-"]),
        ("InstanceType", ["t3.micro", "t4g.2xlarge"], ["g5.xlarge", "g5g.large", "a1.large", "t3"]),
    ],
)
def test_each_pattern_takes_what_is_right_and_nothing_wrong(
    name: str, right: list[str], wrong: list[str]
) -> None:
    pattern = PARAMETERS[name]["AllowedPattern"]
    values = [*right, PARAMETERS[name]["Default"]]
    assert [value for value in values if not re.fullmatch(pattern, value)] == []
    assert [value for value in wrong if re.fullmatch(pattern, value)] == []
