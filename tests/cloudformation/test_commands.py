"""The predecessor's commands, with AWS's own command line."""

import re

from tests.cloudformation.cloud import Cloud
from tests.cloudformation.commands import ROOT, Aws
from tests.cloudformation.template import KEY

README = (ROOT / "README.md").read_text()


def test_they_work_as_the_readme_has_them(fresh: Cloud, aws: Aws) -> None:
    (commands,) = re.findall(r"```sh\n(aws cloudformation create-stack.*?)```", README, re.DOTALL)
    for placeholder, value in {
        "vpc-0123456789abcdef0": fresh.vpc,
        "subnet-0123456789abcdef0": fresh.subnet,
        "$(uuidgen -r)": KEY,
    }.items():
        assert commands.count(placeholder) == 1
        commands = commands.replace(placeholder, value)
    name = aws(commands).splitlines()[-1]
    stack = fresh.stack()
    assert name == stack["Outputs"]["PublicDNS"]
    assert stack["Outputs"]["Url"] == f"https://{name}:8000"
    secret = fresh.client("secretsmanager").get_secret_value(SecretId=stack["Outputs"]["SecretArn"])
    assert secret["SecretString"] == KEY
    (reservation,) = fresh.client("ec2").describe_instances()["Reservations"]
    (instance,) = reservation["Instances"]
    assert (instance["InstanceType"], instance["KeyName"]) == ("t3.micro", "my-key")
    assert instance["PublicDnsName"] == name
