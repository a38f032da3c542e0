"""What SageMaker's own paths share: any bytes, its headers, and its errors."""

from __future__ import annotations

import json

from proxy.errors import InvalidRequest, ModelNotFound, ProxyError
from proxy.handlers.relay import RelayHandler
from proxy.names import is_endpoint_name
from proxy.sagemaker import Invocation

# The request id is SageMaker's here: AWS SDKs read it, and AWS's support asks for it.
ANSWER_HEADERS = ("x-amzn-sagemaker-", "x-amzn-invoked-", "x-amzn-requestid")


class NativeHandler(RelayHandler):
    """What the operations share: headers through, and errors as SageMaker answers them."""

    async def invocation(self, endpoint: str) -> Invocation:
        """The call, with the headers that SageMaker reads.

        Raises ``InvalidRequest`` and ``ModelNotFound``.
        """
        if not is_endpoint_name(endpoint):
            raise InvalidRequest("the path has no valid endpoint name")
        component = self.request.headers.get("x-amzn-sagemaker-inference-component", "")
        if component and not is_endpoint_name(component):
            raise InvalidRequest("the name of the inference component is not valid")
        self.model = f"{endpoint}/{component}" if component else endpoint
        self.check_native_access(endpoint, self.model)
        # SageMaker might pass over a component that is not there, and call the endpoint itself.
        if not self.may_call(endpoint) and not await self.services.catalog.exists(self.model):
            raise ModelNotFound(self.model)
        headers = {
            name: value
            for name, value in self.request.headers.items()
            if name in ("content-type", "accept") or name.startswith("x-amzn-sagemaker-")
        }
        for name, value in headers.items():
            if not value.isascii():
                raise InvalidRequest(f"the header {name} must be ASCII")
        return Invocation(endpoint, self.take_body(), headers, self.new_wait())

    def check_native_access(self, endpoint: str, deployment: str) -> None:
        """Raise ``ModelNotFound`` unless the key is for the endpoint or its component."""
        may_call = self.may_call(endpoint) or self.may_call(deployment)
        if not (may_call and self.services.models.offers(deployment)):
            raise ModelNotFound(deployment)

    def format_error(self, error: ProxyError) -> tuple[int, dict[str, str], bytes]:
        """SageMaker's own answer where there is one, else one in its shape."""
        if refusal := error.refusal:
            headers = {
                "Content-Type": refusal.content_type,
                "X-Amzn-ErrorType": refusal.error_type or error.native_type,
            }
            return refusal.status, headers, refusal.body
        headers = {"Content-Type": "application/json", "X-Amzn-ErrorType": error.native_type}
        return error.status, headers, json.dumps({"message": error.message}).encode()
