"""From an AWS account to an answer of a model, by one command; and back to a bare host."""

from collections.abc import Iterator
from dataclasses import dataclass

import openai
import pytest

from tests.cloudformation.cloud import Cloud
from tests.provisioning.service import Provision, Service
from tests.testhost.playbook import Outcome

pytestmark = pytest.mark.timeout(600)

# What the system itself keeps changing, and the folder in which it keeps the state of timers.
NOT_OURS = "/proc /sys /run /tmp /var/tmp /var/log /var/cache /var/lib/dnf /var/lib/rpm /root /home"
NOT_OURS += " /var/lib/systemd/timers"


@dataclass(frozen=True)
class Deployment:
    """A host that deploy.yml has been played for, what it had before, and how that went."""

    service: Service
    before: set[str]
    outcome: Outcome
    answer: str


def files(service: Service) -> set[str]:
    prune = " ".join(f"-path {path} -prune -o" for path in NOT_OURS.split())
    return set(service.host.run(f"find / -xdev {prune} -print").stdout.splitlines())


def ask(service: Service) -> str:
    """What a model behind the host answers to OpenAI's client."""
    with (
        openai.DefaultHttpxClient(verify=service.client_context(), trust_env=False) as http,
        openai.OpenAI(
            base_url=f"{service.url}/v1", api_key=service.key, http_client=http, max_retries=0
        ) as client,
    ):
        answer = client.chat.completions.create(
            model="demo-chat", messages=[{"role": "user", "content": "Hello"}]
        )
    return answer.choices[0].message.content or ""


@pytest.fixture(scope="module")
def deployed(boot: Provision) -> Iterator[Deployment]:
    with boot("deployed") as service, Cloud() as cloud:
        with cloud.has_its_hosts_at(service.host.address):
            before = files(service)
            outcome = service.play(
                "deploy.yml",
                aws=cloud.client_environment(),
                key_name="my-key",
                vpc_id=cloud.vpc,
                subnet_id=cloud.subnet,
            )
        yield Deployment(service, before, outcome, ask(service))


def test_one_command_makes_stack_and_service_and_says_where_it_is(deployed: Deployment) -> None:
    output = deployed.outcome.output
    assert "The stack sagemaker-proxy is new." in output
    assert "with a key: '200'" in output
    assert f"url: {deployed.service.url}\n" in output
    assert f"key: {deployed.service.key_file}\n" in output
    assert deployed.service.key not in output


def test_openais_client_is_answered_by_a_model_behind_it(deployed: Deployment) -> None:
    assert "Hello" in deployed.answer


def test_uninstalled_nothing_is_left_but_the_journal(deployed: Deployment) -> None:
    service, before = deployed.service, deployed.before
    assert len(files(service) - before) > 1000
    service.play("uninstall.yml", as_shipped=True)
    assert files(service) - before == set()
    seen = service.testinfra()
    assert not seen.user("sagemaker-proxy").exists
    assert not seen.package("python3.11").is_installed
    assert "sagemaker-proxy" not in service.host.run("systemctl list-unit-files").stdout
    assert not seen.socket("tcp://8000").is_listening
    assert "serving" in service.host.run("journalctl -u sagemaker-proxy").stdout
    assert service.play("uninstall.yml").changed_tasks == []
