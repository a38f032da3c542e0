"""The predecessor's routes, in the shapes that existing scripts rely on."""

from __future__ import annotations

import re
from http import HTTPStatus

from proxy import __version__
from proxy.answer import Answer
from proxy.control_plane import Endpoint
from proxy.dialects.openai import with_model
from proxy.handlers.base import BaseHandler
from proxy.handlers.relay import ANSWER_HEADERS, RelayHandler
from proxy.models import Target
from proxy.patience import Wait

_MASK = "********"

# Names of variables that hold a secret: a word of them ends in one of these, or says so outright.
_SECRET_NAME = re.compile(
    r"SECRET|PASSW|PASSPHRASE|CREDENTIAL|(TOKEN|KEY|AUTH|PWD)S?(?![A-Z])", re.ASCII
)
_COUNT_NAME = re.compile(r"TOKENS(?![A-Z])", re.ASCII)


class RootHandler(BaseHandler):
    """``GET /``."""

    def prepare(self) -> None:
        """Admit a browser without a key: a person has just typed in the address."""
        headers = self.request.headers
        has_key = "authorization" in headers or "x-api-key" in headers
        self.public = "text/html" in headers.get("accept", "") and not has_key
        super().prepare()

    async def respond(self, *path: str) -> None:
        """Name and version; a browser is led to the console."""
        if self.public:
            self.set_status(HTTPStatus.SEE_OTHER)
            self.set_header("Location", "console")
        else:
            self.write_json({"sagemaker-proxy": __version__})


class ListEndpointsHandler(BaseHandler):
    """``GET /list_endpoints``."""

    async def respond(self, *path: str) -> None:
        """Every endpoint with what runs behind it; null where SageMaker has nothing to tell."""
        self.write_json(
            [
                {
                    "EndpointName": endpoint.name,
                    "EndpointStatus": endpoint.status,
                    "InstanceType": description.instance_type,
                    "Container": description.image,
                    "ModelEnvironment": mask_secrets(description.environment),
                }
                for endpoint, description in await self.services.catalog.descriptions()
                if isinstance(endpoint, Endpoint)
                and self.services.models.offers(endpoint.name)
                and self.may_call(endpoint.name)
            ]
        )


class PredictHandler(RelayHandler):
    """``POST /predict``: any JSON body with a ``model``, any answer."""

    async def respond(self, *path: str) -> None:
        """Call the model, and pass its answer on as it is."""
        targets, body, stream = await self.route_by_body()

        async def call(target: Target, wait: Wait | None) -> tuple[Answer, bytes | None]:
            first = None
            model = target.settings.served_model
            sent = body if model is None else with_model(body, model)
            invocation = self.invocation_of(target, sent, wait)
            if not stream:
                return await self.services.sagemaker.invoke(invocation), first
            answer = await self.services.sagemaker.invoke_stream(invocation)
            if wait is None:  # another target is left, should this one fail at once
                first = await answer.take()
            return answer, first

        answer, first = await self.call_first(targets, call, self.new_wait())
        if not stream:
            await self.relay(answer, ANSWER_HEADERS)
            return
        async with answer:
            self.copy_headers(answer, ANSWER_HEADERS)
            content_type = answer.headers.get("x-amzn-sagemaker-content-type", "text/plain")
            await self.relay_pieces(answer.payloads(), content_type, first)


def mask_secrets(environment: dict[str, str]) -> dict[str, str]:
    """``environment`` with the values masked whose names look like a secret's."""
    return {
        name: _MASK if value and _is_secret(name, value) else value
        for name, value in environment.items()
    }


def _is_secret(name: str, value: str) -> bool:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()
    if value.isdecimal() and _COUNT_NAME.search(words):
        return False  # MAX_TOTAL_TOKENS=4096
    return _SECRET_NAME.search(words) is not None
