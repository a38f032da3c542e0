"""Starts and stops the whole emulated SageMaker, and is how a test or a demo speaks to it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.emulator import loopback, wire
from tests.emulator.background import BackgroundLoop
from tests.emulator.calls import Call, CallLog
from tests.emulator.containers import openai_server
from tests.emulator.control_plane import (
    DEFAULT_IMAGE,
    DEFAULT_INSTANCE_TYPE,
    OPERATOR,
    ControlPlane,
    Kind,
)
from tests.emulator.credentials import CredentialTable
from tests.emulator.faults import FaultQueue
from tests.emulator.permissions import PermissionLog
from tests.emulator.runtime import Endpoint, Runtime
from tests.emulator.signature import SignatureCheck
from tests.emulator.storage_gate import StorageGate
from tests.emulator.store import StoredObject

Container = str | web.Application | Callable[[], web.Application]

ACCESS_KEY = "AKIAEMULATOREXAMPLE1"
SECRET = "emulator/secret/K7MDENG/bPxRfiCYEXAMPLE0"
_VLLM_IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:latest"


class Emulator:
    """A SageMaker of one's own, as a context manager; every method may be called from any thread.

    Only one can run in a process at a time, since moto keeps its state in module globals.
    """

    def __init__(
        self, *, seed: int = 0, region: str = "us-east-1", container_timeout: float = 60.0
    ) -> None:
        self.region = region
        self.ahead = timedelta()  # so far its clock is ahead of this machine's
        self.credentials = CredentialTable()
        self.credentials.add(ACCESS_KEY, SECRET)
        self._permissions = PermissionLog(region)
        self.storage = StorageGate(self.credentials, self._permissions, OPERATOR)
        self._control_plane = ControlPlane(region, self._permissions, ACCESS_KEY, self.storage)
        self._faults = FaultQueue()
        self._calls = CallLog()
        self._endpoints: dict[str, Endpoint] = {}
        self._containers: dict[str, web.AppRunner] = {}
        self._runtime = Runtime(
            endpoints=self._endpoints,
            signatures=SignatureCheck(self.credentials, region, self._now),
            faults=self._faults,
            calls=self._calls,
            permissions=self._permissions,
            store=self._control_plane,
            region=region,
            now=self._now,
            seed=seed,
            container_timeout=container_timeout,
        )
        self._runtime_runner: web.AppRunner
        self._loop = BackgroundLoop("emulator")
        self.runtime_url = ""

    def start(self) -> None:
        """Start runtime and control plane, at the same time since moto is slow to import."""
        self._loop.start()
        try:
            serving = self._loop.submit(loopback.serve(self._runtime.application()))
            self._control_plane.start()
            self._runtime_runner, self.runtime_url = serving.result()
        except BaseException:
            self._loop.stop()
            raise

    def stop(self) -> None:
        """Stop everything and forget all state."""
        self._loop.submit(self._stop_serving()).result()
        # The loop waits for its threads, which may still be writing to S3.
        self._loop.stop()
        self._control_plane.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def control_url(self) -> str:
        """Where the control plane listens."""
        return self._control_plane.url

    @property
    def s3_url(self) -> str:
        """Where S3 listens."""
        return self._control_plane.url

    def get_object(self, uri: str) -> StoredObject:
        """Return an S3 object by its address, as its owner; LookupError if there is none."""
        return self._control_plane.get(uri)

    def put_object(self, uri: str, body: bytes, content_type: str = "text/plain") -> None:
        """Write an S3 object, as its owner."""
        self._control_plane.put(uri, body, content_type)

    def environment(self) -> dict[str, str]:
        """Return the variables that lead an AWS client here and nowhere else."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL_SAGEMAKER": self.control_url,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": self.runtime_url,
            "AWS_ENDPOINT_URL_S3": self.s3_url,
            "AWS_ENDPOINT_URL_STS": self.control_url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def add_endpoint(
        self,
        name: str,
        container: Container,
        *,
        image: str = DEFAULT_IMAGE,
        instance_type: str = DEFAULT_INSTANCE_TYPE,
        environment: Mapping[str, str] | None = None,
        kind: Kind = "real-time",
        components: Sequence[str] = (),
    ) -> None:
        """Create an endpoint in front of a container: a URL, or an application to serve.

        An endpoint of the kind "components" has inference components instead of a model, all
        answered by the one container; if none is named, there is one of the endpoint's name.
        """
        if name in self._endpoints:
            raise ValueError(f"there is an endpoint {name} already")
        if kind == "components":
            components = components or (name,)
        elif components:
            raise ValueError('components go with the kind "components"')
        self._control_plane.add_endpoint(
            name,
            image=image,
            instance_type=instance_type,
            environment=environment,
            kind=kind,
            components=components,
        )
        if isinstance(container, str):
            url = container.rstrip("/")
        else:
            application = container if isinstance(container, web.Application) else container()
            runner, url = self._loop.submit(loopback.serve(application)).result()
            self._containers[name] = runner
        self._endpoints[name] = Endpoint(name, url, frozenset(components))

    def add_openai_server(self, name: str, url: str) -> None:
        """Create an endpoint in front of any server that speaks OpenAI's API."""
        self.add_endpoint(name, openai_server.application(url), image=_VLLM_IMAGE)

    def remove_endpoint(self, name: str) -> None:
        """Delete an endpoint, and its container if it was started here."""
        self._control_plane.remove_endpoint(name)
        del self._endpoints[name]
        runner = self._containers.pop(name, None)
        if runner is not None:
            self._loop.submit(runner.cleanup()).result()

    def set_status(self, name: str, status: str) -> None:
        """Let the control plane tell another status of an endpoint; its calls are as before."""
        self._control_plane.set_status(name, status)

    def set_copies(self, component: str, copies: int) -> None:
        """Let the control plane tell of so many copies of an inference component."""
        self._control_plane.set_copies(component, copies)

    def container_url(self, name: str) -> str:
        """Return where an endpoint's container listens."""
        return self._endpoints[name].url

    def set_fault(self, endpoint: str, kind: str, times: int | None = 1, **params: Any) -> None:
        """Let the next calls to an endpoint fail; `faults.Fault` describes the parameters."""
        self._faults.add(endpoint, kind, times, **params)

    def clear_faults(self, endpoint: str | None = None) -> None:
        """Let every endpoint be well again and every action be allowed, or one endpoint alone."""
        self._faults.clear(endpoint)
        if endpoint is None:
            self._permissions.deny_nothing()

    def drop_connections(self, *, reset: bool = False) -> int:
        """End every connection to the runtime, in use or not; how many there were."""
        return self._loop.submit(self._drop_connections(reset)).result()

    def deny(self, action: str) -> None:
        """Let the control plane refuse an action, such as ListEndpoints, until `clear_faults`."""
        self._permissions.deny(action)

    def calls(self, endpoint: str) -> list[Call]:
        """Return the newest calls to an endpoint, those that were refused for a fault included."""
        return self._calls.of(endpoint)

    def permissions_used(self) -> set[tuple[str, str]]:
        """Return each action and ARN that a caller would have needed IAM's permission for."""
        return self._permissions.pairs()

    def wait_for_disconnect(self, endpoint: str, timeout: float) -> float:
        """Return when (`time.monotonic`) a caller left in the middle of its call.

        Each departure is reported once; TimeoutError if none comes in time.
        """
        return self._calls.wait_for_departure(endpoint, timeout)

    def _now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def _drop_connections(self, reset: bool) -> int:
        server = self._runtime_runner.server
        assert server is not None
        transports = [each.transport for each in server.connections if each.transport is not None]
        for each in transports:
            if reset:
                wire.reset_transport(each)
            else:
                each.close()
        return len(transports)

    async def _stop_serving(self) -> None:
        await self._runtime_runner.cleanup()
        await asyncio.gather(*(runner.cleanup() for runner in self._containers.values()))
