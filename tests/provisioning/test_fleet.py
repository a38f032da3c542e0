"""An instance of a fleet configures itself: a bare host, the stack's first words, no operator."""

import ast
import base64
import json
import re
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import requests
import valkey

from proxy.keys import hash_key
from tests.cloudformation.cloud import Cloud
from tests.cloudformation.moto_fleet import ReplicationGroup, lifecycle_actions
from tests.cloudformation.stacks import make_fleet
from tests.integration.inspecting import wait_until
from tests.integration.shared_counts import CountsServer
from tests.provisioning.conftest import ROOT
from tests.testhost.authority import Authority
from tests.testhost.host import Host
from tests.testhost.image import Image
from tests.testhost.locks import exclusively
from tests.testhost.sagemaker import SageMaker

pytestmark = pytest.mark.timeout(600)

BUCKET = "releases"
FIRST_WORDS_SECONDS = 300.0
FLEET = "/opt/sagemaker-proxy-fleet"
# What the command line on Amazon Linux is called, by the one of this environment.
AWS = '#!/bin/sh\nPYTHONPATH=/usr/lib/aws-cli exec /usr/bin/python3 -B -m awscli "$@"\n'
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


@dataclass
class Fleet:
    """A host that has become an instance of a fleet, and what is around it."""

    host: Host
    sagemaker: SageMaker
    cloud: Cloud
    counts: CountsServer
    authority: Path
    user_data: str
    instance: str
    secret: str
    variables: dict[str, Any]
    key: str
    broken: subprocess.CompletedProcess[str]
    told_when_broken: list[dict[str, Any]]
    left_when_broken: str
    joined: subprocess.CompletedProcess[str]
    told: list[dict[str, Any]]

    def ask(self, key: str, path: str = "/v1/models") -> requests.Response:
        """Ask as a client that the load balancer passes on, over a connection of its own."""
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self.authority)
            session.headers["Authorization"] = f"Bearer {key}"
            return session.get(f"https://{self.host.address}:8000{path}", timeout=30)

    def put(self, **variables: Any) -> None:
        """Give the fleet's secret a new version."""
        self.variables |= variables
        self.cloud.client("secretsmanager").put_secret_value(
            SecretId=self.secret, SecretString=json.dumps(self.variables)
        )

    def has_told(self) -> str:
        """The version of the secret that the host says it has taken."""
        tags = self.cloud.client("ec2").describe_tags()["Tags"]
        (version,) = [
            tag["Value"]
            for tag in tags
            if (tag["ResourceId"], tag["Key"]) == (self.instance, "HostSecretVersion")
        ]
        return str(version)

    def version(self) -> str:
        """That of the secret as it is now."""
        secrets = self.cloud.client("secretsmanager")
        return str(secrets.get_secret_value(SecretId=self.secret)["VersionId"])

    def look(self) -> None:
        """Have the host look at its secrets now, as its timer does; returns when it is done."""
        self.host.run("systemctl start sagemaker-proxy-fleet.service", timeout=FIRST_WORDS_SECONDS)


@pytest.fixture(scope="session")
def release(image: Image) -> dict[str, str]:
    """A release, as an operator packs it."""
    line = ["make", "release", f"ANSIBLE_PYTHON={sys.executable}"]
    with exclusively(ROOT):
        subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
    found: dict[str, str] = json.loads((ROOT / ".release/x86_64.json").read_text())
    return found


def run_as_cloud_init(host: Host, words: str) -> subprocess.CompletedProcess[str]:
    host.run("install -m 0700 /dev/stdin /root/part-001", stdin=words)
    return host.run(
        "systemd-run --quiet --wait --pipe --collect --unit=cloud-final /root/part-001",
        check=False,
        timeout=FIRST_WORDS_SECONDS,
    )


@pytest.fixture(scope="module")
def fleet(
    image: Image, release: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("fleet")
    authority = Authority("All that the host trusts")
    trusted = directory / "authority.pem"
    trusted.write_bytes(authority.certificate)
    packages = sysconfig.get_path("purelib")
    with ExitStack() as stack:
        host = stack.enter_context(Host("instance", image, {packages: "/usr/lib/aws-cli"}))
        cloud = stack.enter_context(Cloud(host.outside))
        stack.enter_context(patch.object(ReplicationGroup, "address", host.outside))
        host.run("install -m 0755 /dev/stdin /usr/bin/aws", stdin=AWS)
        host.run("mkdir /root/.aws; cat > /root/.aws/config", stdin=config(cloud))
        host.run(f"cat >> {AUTHORITIES}", stdin=authority.certificate.decode())

        storage = cloud.client("s3")
        storage.create_bucket(Bucket=BUCKET)
        storage.upload_file(release["path"], BUCKET, f"sagemaker-proxy/{release['version']}.tar")
        certificate, private_key = authority.issue(host.address)
        key = str(uuid.uuid4())
        secret = cloud.client("secretsmanager").create_secret(Name="fleet", SecretString="{}")[
            "ARN"
        ]
        stacked = make_fleet(
            cloud,
            ReleaseBucket=BUCKET,
            ReleaseVersion=release["version"],
            ReleaseSha256=release["sha256"],
            HostSecret=secret,
            DrainSeconds="7",
        )
        instance, user_data = launched(cloud)
        sagemaker = stack.enter_context(SageMaker(host, timedelta(hours=1), instance))
        sagemaker.lead("InService")
        password = cloud.client("secretsmanager").get_secret_value(
            SecretId=stacked["Outputs"]["ValkeySecretArn"]
        )["SecretString"]
        counts = stack.enter_context(
            CountsServer(
                directory,
                authority.issue(host.outside),
                at=(host.outside, 6379),
                password=password,
            )
        )
        lifecycle_actions.clear()
        broken = run_as_cloud_init(host, user_data.replace(release["sha256"], "0" * 64))
        told_when_broken = [*lifecycle_actions]
        left_when_broken = host.run(f"find {FLEET} -type f").stdout
        lifecycle_actions.clear()
        found = Fleet(
            host=host,
            sagemaker=sagemaker,
            cloud=cloud,
            counts=counts,
            authority=trusted,
            user_data=user_data,
            instance=instance,
            secret=secret,
            variables={},
            key=key,
            broken=broken,
            told_when_broken=told_when_broken,
            left_when_broken=left_when_broken,
            joined=broken,
            told=[],
        )
        found.put(
            api_keys_list=[entry(key)],
            certificates_provided_certificate_content=certificate.decode(),
            certificates_provided_private_key_content=private_key.decode(),
            proxy_environment=sagemaker.environment,
            proxy_settings={"catalog": {"refresh_seconds": 5}},
        )
        found.joined = run_as_cloud_init(host, user_data)
        found.told = [*lifecycle_actions]
        yield found


def config(cloud: Cloud) -> str:
    return f"[default]\nendpoint_url = {cloud.url}\n"


def entry(key: str, **more: str) -> dict[str, Any]:
    return {"name": "alice", "sha256": hash_key(key), "requests_per_minute": 600, **more}


def launched(cloud: Cloud) -> tuple[str, str]:
    """One of the group's instances, and what it is told to do first."""
    (group,) = cloud.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    (version,) = cloud.client("ec2").describe_launch_template_versions(
        LaunchTemplateId=group["LaunchTemplate"]["LaunchTemplateId"]
    )["LaunchTemplateVersions"]
    words = base64.b64decode(version["LaunchTemplateData"]["UserData"]).decode()
    return str(group["Instances"][0]["InstanceId"]), words


def test_the_systems_own_python_can_read_what_it_runs() -> None:
    ast.parse((ROOT / "roles/fleet/files/join.py").read_text(), feature_version=(3, 9))


def test_it_serves_and_has_told_its_group_so(fleet: Fleet) -> None:
    assert fleet.joined.returncode == 0, fleet.joined.stdout + fleet.joined.stderr
    assert fleet.told == [
        {
            "LifecycleHookName": "join",
            "AutoScalingGroupName": "sagemaker-proxy",
            "LifecycleActionResult": "CONTINUE",
            "InstanceId": fleet.instance,
        }
    ]
    assert fleet.ask("", "/readyz").status_code == 200
    answer = fleet.ask(fleet.key)
    assert answer.status_code == 200
    assert "demo-chat" in [model["id"] for model in answer.json()["data"]]
    assert fleet.ask(str(uuid.uuid4())).status_code == 401
    assert [fleet.ask("", path).status_code for path in ("/docs", "/console")] == [200, 200]


def test_it_tells_which_version_of_the_secret_it_has(fleet: Fleet) -> None:
    assert fleet.has_told() == fleet.version()
    fleet.put(proxy_settings={"catalog": {"refresh_seconds": 6}})
    assert fleet.has_told() != fleet.version()
    fleet.look()
    assert fleet.has_told() == fleet.version()
    fleet.put(proxy_settings={"catalog": {"refresh_seconds": 5}})
    fleet.look()


def test_another_artefact_than_the_pinned_one_is_not_run_and_the_instance_given_up(
    fleet: Fleet,
) -> None:
    assert fleet.broken.returncode != 0
    assert "did NOT match" in fleet.broken.stdout + fleet.broken.stderr
    (told,) = fleet.told_when_broken
    assert (told["LifecycleActionResult"], told["InstanceId"]) == ("ABANDON", fleet.instance)
    assert fleet.left_when_broken.split("/")[-1] == "release.tar\n"  # as it came
    assert fleet.left_when_broken.count("\n") == 1


def test_it_counts_limits_where_the_others_do_by_tls_and_with_the_password(fleet: Fleet) -> None:
    with requests.Session() as session:
        session.verify, session.trust_env = str(fleet.authority), False
        session.headers["Authorization"] = f"Bearer {fleet.key}"
        body = {"model": "demo-chat", "messages": [{"role": "user", "content": "Hello"}]}
        url = f"https://{fleet.host.address}:8000/v1/chat/completions"
        assert session.post(url, json=body, timeout=30).status_code == 200
    with valkey.Valkey.from_url(f"{fleet.counts.url}?ssl_ca_certs={fleet.authority}") as server:
        assert server.exists("sagemaker-proxy:{alice}:requests")
    assert "sagemaker_proxy_limits_backend_up 1" in fleet.ask(fleet.key, "/metrics").text


def test_it_has_what_the_stack_says(fleet: Fleet) -> None:
    settings = fleet.host.run("cat /etc/sagemaker-proxy/config.toml").stdout
    assert re.search(r"^drain_seconds = 7$", settings, re.MULTILINE)
    assert re.search(r"^refresh_seconds = 5$", settings, re.MULTILINE)


def test_no_key_is_on_it_and_no_secret_where_others_than_root_and_the_service_read(
    fleet: Fleet,
) -> None:
    password = fleet.counts.url.partition("://:")[2].partition("@")[0]
    assert fleet.key not in fleet.user_data
    assert password not in fleet.user_data
    assert password not in fleet.joined.stdout + fleet.joined.stderr
    places = "/etc /opt /root /run /tmp /var/lib /var/log /var/tmp"
    search = f"grep --recursive --files-with-matches --fixed-strings {{}} {places} 2>/dev/null"
    assert fleet.host.run(search.format(fleet.key), check=False).stdout == ""
    holders = fleet.host.run(search.format(password), check=False).stdout.split()
    assert holders == ["/etc/sagemaker-proxy/config.toml"]
    mode = fleet.host.run("stat --format='%a %U %G' /etc/sagemaker-proxy/config.toml").stdout
    assert mode.split() == ["640", "root", "sagemaker-proxy"]


def test_it_takes_a_new_key_from_the_secret_and_lets_the_old_one_go_on(fleet: Fleet) -> None:
    new = str(uuid.uuid4())
    main = fleet.host.run("systemctl show --property=MainPID sagemaker-proxy").stdout
    ends = {"previous_sha256": hash_key(fleet.key), "previous_expires": "2999-01-01"}
    fleet.put(api_keys_list=[entry(new, **ends)])
    assert fleet.ask(new).status_code == 401
    fleet.look()
    assert [fleet.ask(key).status_code for key in (new, fleet.key)] == [200, 200]
    # By a reload, which drops nothing.
    assert fleet.host.run("systemctl show --property=MainPID sagemaker-proxy").stdout == main


def test_it_looks_by_itself_and_does_nothing_while_nothing_has_changed(fleet: Fleet) -> None:
    timer = (
        "systemctl show --property=ActiveState,UnitFileState --value sagemaker-proxy-fleet.timer"
    )
    assert fleet.host.run(timer).stdout.split() == ["active", "enabled"]
    due = "systemctl show --property=NextElapseUSecMonotonic --value sagemaker-proxy-fleet.timer"
    assert fleet.host.run(due).stdout.strip() not in ("", "infinity")
    loaded = "stat --format=%y /opt/sagemaker-proxy/loaded; cat /opt/sagemaker-proxy/loaded"
    fleet.look()
    before = fleet.host.run(loaded).stdout
    fleet.look()
    assert fleet.host.run(loaded).stdout == before
    said = "journalctl --unit=sagemaker-proxy-fleet --invocation=0 --output=cat"
    assert "PLAY" not in fleet.host.run(said, check=False).stdout


def test_settings_that_cannot_be_used_change_nothing_and_are_told(fleet: Fleet) -> None:
    good = fleet.variables["proxy_settings"]
    fleet.put(proxy_settings={"no_such": {}})
    failed = fleet.host.run("systemctl start sagemaker-proxy-fleet", check=False, timeout=300)
    assert failed.returncode != 0
    assert "no_such" in fleet.host.run("journalctl --unit=sagemaker-proxy-fleet -o cat").stdout
    assert fleet.has_told() != fleet.version()
    assert fleet.ask("", "/readyz").status_code == 200
    fleet.put(proxy_settings=good)


def test_what_would_restart_the_service_is_left_to_the_next_host(fleet: Fleet) -> None:
    good = fleet.variables["proxy_environment"]
    main = fleet.host.run("systemctl show --property=MainPID sagemaker-proxy").stdout
    fleet.put(proxy_environment={**good, "NO_PROXY": "example.com"})
    fleet.look()
    assert fleet.host.run("systemctl show --property=MainPID sagemaker-proxy").stdout == main
    assert fleet.has_told() != fleet.version()
    fleet.put(proxy_environment=good)
    fleet.look()
    assert fleet.has_told() == fleet.version()


def test_it_tells_its_clients_that_it_leaves_when_its_group_ends_it(fleet: Fleet) -> None:
    with requests.Session() as client:
        client.trust_env, client.verify = False, str(fleet.authority)
        url = f"https://{fleet.host.address}:8000/healthz"
        assert "Connection" not in client.get(url, timeout=30).headers
        fleet.sagemaker.lead("Terminated")
        fleet.look()
        wait_until(lambda: fleet.ask("", "/readyz").status_code == 503, "it is still ready")
        assert client.get(url, timeout=30).headers["Connection"] == "close"
