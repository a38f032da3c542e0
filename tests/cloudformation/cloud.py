"""An AWS account of one's own: moto's server, with what its CloudFormation lacks."""

import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

import boto3
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import CloudFormationBackend, Event, Stack
from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.ssm.models import ssm_backends

from tests.cloudformation import moto_gaps
from tests.emulator.isolation import NO_AWS_FILES
from tests.emulator.loopback import HOST
from tests.emulator.names import ACCOUNT

REGION = "us-east-1"
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAEMULATOREXAMPLE1",
    "AWS_SECRET_ACCESS_KEY": "emulator/secret/K7MDENG/bPxRfiCYEXAMPLE0",
}
_CANCELLED = "Resource creation cancelled"
_FAILED = "The following resource(s) failed to create: [{}]. Rollback requested by user."


class Cloud:
    """Its state is the process's, so one at a time. It listens at an address of this machine."""

    def __init__(self, address: str = HOST) -> None:
        self._running = ExitStack()
        self._address = address
        self.url = ""
        self.vpc = ""
        self.subnet = ""

    def __enter__(self) -> Self:
        self._running.enter_context(moto_gaps.filled())
        log = logging.getLogger("werkzeug")
        self._running.callback(log.setLevel, log.level)
        log.setLevel(logging.ERROR)
        server = ThreadedMotoServer(ip_address=self._address, port=0, verbose=False)
        server.start()
        self._running.callback(server.stop)
        host, port = server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.reset()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._forget()
        self._running.close()

    def reset(self) -> None:
        """Forget everything but a key pair `my-key`, and the default VPC that any account has."""
        self._forget()
        self.client("ec2").create_key_pair(KeyName="my-key")
        subnet = self.client("ec2").describe_subnets()["Subnets"][0]
        self.vpc, self.subnet = subnet["VpcId"], subnet["SubnetId"]

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=_CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def client_environment(self) -> dict[str, str]:
        """What leads an AWS client here and nowhere else."""
        return {
            **NO_AWS_FILES,
            **_CREDENTIALS,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
        }

    def environment(self, home: Path) -> dict[str, str]:
        """The same, with this environment's commands."""
        return {
            **self.client_environment(),
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def stack(self, name: str = "sagemaker-proxy") -> dict[str, Any]:
        """The stack as AWS describes it, with its outputs and parameters as dicts; else empty."""
        stacks = self.client("cloudformation").describe_stacks()["Stacks"]
        found: dict[str, Any] = next((item for item in stacks if item["StackName"] == name), {})
        for kind in ("Output", "Parameter") if found else ():
            found[f"{kind}s"] = {
                item[f"{kind}Key"]: item.get(f"{kind}Value") for item in found.get(f"{kind}s", [])
            }
        return found

    def fails_to_make(self, resource: str, kind: str, reason: str) -> Any:
        """As a context: AWS makes a stack, cannot make this resource, and rolls back."""

        def create_resources(stack: Stack) -> None:
            _tell(stack, resource, kind, "CREATE_FAILED", reason)
            for name, other in stack.template_dict["Resources"].items():
                if name != resource:
                    _tell(stack, name, other["Type"], "CREATE_FAILED", _CANCELLED)
            stack._add_stack_event("ROLLBACK_IN_PROGRESS", _FAILED.format(resource))
            stack._add_stack_event("ROLLBACK_COMPLETE")
            stack.status = "ROLLBACK_COMPLETE"

        return patch.object(Stack, "create_resources", create_resources)

    def refuses(self, call: str, message: str) -> Any:
        """As a context: AWS refuses this call of CloudFormation."""
        error = ValidationError("", message)
        return patch.object(CloudFormationBackend, call, side_effect=error)

    def has_its_hosts_at(self, address: str) -> Any:
        """As a context: every instance has this address for its name, which leads nowhere else."""
        return patch.object(Instance, "public_dns_name", property(lambda instance: address))

    def instance(self) -> dict[str, Any]:
        """The stack's instance as EC2 describes it now."""
        found = self.client("ec2").describe_instances(
            InstanceIds=[self.stack()["Outputs"]["InstanceId"]]
        )
        instance: dict[str, Any] = found["Reservations"][0]["Instances"][0]
        return instance

    def forget_instances(self) -> None:
        """An hour after an instance was terminated, EC2 knows nothing of it."""
        ec2_backends[ACCOUNT][REGION].reservations.clear()

    def publish_image(self, architecture: str, image: str) -> None:
        """AWS publishes a newer image of Amazon Linux 2023."""
        name = f"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}"
        parameter = ssm_backends[ACCOUNT][REGION].get_parameter(name)
        assert parameter is not None
        parameter.value = image

    def _forget(self) -> None:
        BackendDict.reset()
        reset_model_data()


def _tell(stack: Stack, resource: str, kind: str, status: str, reason: str) -> None:
    stack.events.append(Event(stack.stack_id, stack.name, resource, "", kind, status, reason, ""))
