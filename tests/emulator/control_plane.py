"""The control plane and S3: a moto server, and the endpoints that are seeded into it."""

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from unittest.mock import patch

from tests.emulator.asynchronous import OUTPUT_BUCKET
from tests.emulator.inference_components import InferenceComponents
from tests.emulator.loopback import HOST
from tests.emulator.names import ACCOUNT, VARIANT
from tests.emulator.permissions import PermissionLog
from tests.emulator.storage_gate import StorageGate
from tests.emulator.store import S3Store, StoredObject

Kind = Literal["real-time", "serverless", "components", "multi-container"]

DEFAULT_IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/model:latest"
DEFAULT_INSTANCE_TYPE = "ml.m5.large"
OPERATOR = "AKIAOPERATOREXAMPLE1"  # who seeds it; moto checks no signature
_ROLE = f"arn:aws:iam::{ACCOUNT}:role/sagemaker-execution"


class ControlPlane:
    """moto in this process, as a server; its state is the process's, so one at a time."""

    def __init__(
        self, region: str, permissions: PermissionLog, caller: str, gate: StorageGate
    ) -> None:
        """What `caller`, an access key, asks of SageMaker goes into `permissions`."""
        self._region = region
        self._permissions = permissions
        self._caller = caller
        self._gate = gate
        self._lock = threading.Lock()
        self._components = InferenceComponents(region)
        self._server: Any = None
        self._log_level = logging.NOTSET
        self.url = ""

    def start(self) -> None:
        """Start the server; importing moto is most of the time this takes."""
        import boto3
        from moto.moto_server.threaded_moto_server import ThreadedMotoServer
        from moto.s3.responses import S3Response
        from moto.sagemaker.responses import SageMakerResponse

        log = logging.getLogger("werkzeug")
        self._log_level = log.level
        log.setLevel(logging.ERROR)
        self._components.install()
        plain = SageMakerResponse.call_action
        watching = self._permissions.watching(plain, self._caller)
        self._watch = patch.object(SageMakerResponse, "call_action", watching)
        self._watch.start()
        guarding = self._gate.guarding(S3Response._key_response)
        self._guard = patch.object(S3Response, "_key_response", guarding)
        self._guard.start()
        self._server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        session = boto3.Session(
            aws_access_key_id=OPERATOR,
            aws_secret_access_key=OPERATOR,
            region_name=self._region,
        )
        self._sagemaker = session.client("sagemaker", endpoint_url=self.url)
        self._s3 = session.client("s3", endpoint_url=self.url)
        self._store = S3Store(self._s3)
        self._s3.create_bucket(Bucket=OUTPUT_BUCKET)

    def stop(self) -> None:
        """Stop the server and forget everything it was told."""
        from moto.core.base_backend import BackendDict
        from moto.core.model_instances import reset_model_data

        self._sagemaker.close()
        self._s3.close()
        self._server.stop()
        self._components.uninstall()
        self._watch.stop()
        self._guard.stop()
        BackendDict.reset()
        reset_model_data()
        logging.getLogger("werkzeug").setLevel(self._log_level)

    def get(self, uri: str) -> StoredObject:
        """Return an S3 object; LookupError if there is none."""
        return self._store.get(uri)

    def put(self, uri: str, body: bytes, content_type: str) -> None:
        """Write an S3 object."""
        self._store.put(uri, body, content_type)

    def add_endpoint(
        self,
        name: str,
        *,
        image: str = DEFAULT_IMAGE,
        instance_type: str = DEFAULT_INSTANCE_TYPE,
        environment: Mapping[str, str] | None = None,
        kind: Kind = "real-time",
        components: Sequence[str] = (),
    ) -> None:
        """Create a model, an endpoint configuration and an endpoint, all of one name."""
        container = {"Image": image, "Environment": dict(environment or {})}
        with self._lock:
            self._create_model(name, container, kind)
            self._sagemaker.create_endpoint_config(
                EndpointConfigName=name, ProductionVariants=[_accepted_variant(name, kind)]
            )
            self._replace_variant(name, _variant(name, kind, instance_type))
            self._sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
            self._components.add(name, components)

    def remove_endpoint(self, name: str) -> None:
        """Delete an endpoint with its configuration and model."""
        with self._lock:
            self._sagemaker.delete_endpoint(EndpointName=name)
            self._sagemaker.delete_endpoint_config(EndpointConfigName=name)
            self._sagemaker.delete_model(ModelName=name)
            self._components.remove(name)

    def set_status(self, name: str, status: str) -> None:
        """Have an endpoint be Creating, Failed, or whatever it can be."""
        from moto.sagemaker.models import sagemaker_backends

        sagemaker_backends[ACCOUNT][self._region].endpoints[name].endpoint_status = status

    def set_copies(self, component: str, copies: int) -> None:
        """Have an inference component run in so many copies; 0 is how it sleeps."""
        self._components.set_copies(component, copies)

    def _create_model(self, name: str, container: Mapping[str, Any], kind: Kind) -> None:
        if kind != "multi-container":
            self._sagemaker.create_model(
                ModelName=name, ExecutionRoleArn=_ROLE, PrimaryContainer=container
            )
            return
        self._sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=_ROLE,
            Containers=[
                {**container, "ContainerHostname": "first"},
                {**container, "ContainerHostname": "second"},
            ],
            InferenceExecutionConfig={"Mode": "Direct"},
        )

    def _replace_variant(self, config_name: str, variant: dict[str, Any]) -> None:
        # moto refuses a variant without a model, and instance types newer than its list; AWS
        # takes both. So moto is given a variant it likes, and this puts the wanted one in its
        # place before an endpoint is made from it.
        from moto.sagemaker.models import sagemaker_backends

        backend = sagemaker_backends[ACCOUNT][self._region]
        backend.endpoint_configs[config_name].production_variants = [variant]


def _accepted_variant(name: str, kind: Kind) -> dict[str, Any]:
    accepted: Kind = "real-time" if kind == "components" else kind
    return {"ModelName": name, **_variant(name, accepted, DEFAULT_INSTANCE_TYPE)}


def _variant(name: str, kind: Kind, instance_type: str) -> dict[str, Any]:
    variant: dict[str, Any] = {"VariantName": VARIANT}
    if kind != "components":
        variant["ModelName"] = name
        variant["InitialVariantWeight"] = 1.0
    if kind == "serverless":
        variant["ServerlessConfig"] = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    else:
        variant["InstanceType"] = instance_type
        variant["InitialInstanceCount"] = 1
    return variant
