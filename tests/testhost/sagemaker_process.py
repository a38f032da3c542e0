"""The embedded SageMaker and the metadata service of an instance, ordered about on stdin.

Started with the lifetime of credentials in seconds, and with an instance's id if the metadata
service is to be where it is on an instance. The first line that it prints is the
environment that leads a client here; then each line that it reads is a method of `Service` with
its arguments, and each that it prints an answer. All of them are JSON. It ends with its input.
"""

import json
import sys
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

from tests.emulator.containers import chat
from tests.emulator.demo import demo_endpoints
from tests.emulator.emulator import Emulator
from tests.emulator.isolation import forget_aws_settings
from tests.emulator.loopback import HOST
from tests.emulator.metadata import ON_AN_INSTANCE, MetadataService
from tests.testhost.slow_chat import NAME, token_delay

_ENDPOINTS = ("demo-chat", "demo-echo", "demo-regression", NAME)
_COUNT_SECONDS = 0.2


class Service:
    """What can be asked for, and done."""

    def __init__(self, emulator: Emulator, metadata: MetadataService) -> None:
        self._emulator = emulator
        self._metadata = metadata
        self._calls: Counter[str] = Counter()
        self._counted_until: dict[str, float] = {}
        self._access_keys: dict[str, None] = {}
        self._lock = threading.Lock()

    def access_keys(self) -> list[str]:
        """The keys that have signed accepted calls, in the order of their first."""
        self.count()
        return list(self._access_keys)

    def calls(self, endpoint: str) -> int:
        """How many calls to an endpoint there were."""
        self.count()
        return self._calls[endpoint]

    def set_fault(self, endpoint: str, kind: str, times: int | None, params: Any) -> None:
        """Let calls to an endpoint fail."""
        self._emulator.set_fault(endpoint, kind, times, **params)

    def clear_faults(self) -> None:
        """Let every endpoint be well again."""
        self._emulator.clear_faults()

    def lead(self, lifecycle_state: str) -> None:
        """Let the group lead the instance there."""
        self._metadata.lifecycle_state = lifecycle_state

    def count(self) -> None:
        """Count the calls since the last time; the emulator remembers the newest only."""
        with self._lock:
            new = [
                call
                for endpoint in _ENDPOINTS
                for call in self._emulator.calls(endpoint)
                if call.arrived > self._counted_until.get(endpoint, 0.0)
            ]
            for call in sorted(new, key=lambda call: call.arrived):
                self._counted_until[call.endpoint] = call.arrived
                self._calls[call.endpoint] += 1
                credential = call.headers["Authorization"].partition("Credential=")[2]
                self._access_keys.setdefault(credential.partition("/")[0])


class ExpiringCredentials:
    """Makes what the metadata service issues known to the emulator, until its time is over."""

    def __init__(self, metadata: MetadataService, emulator: Emulator) -> None:
        self._metadata = metadata
        self._table = emulator.credentials
        self._known = 0
        self._lock = threading.Lock()

    def admit(self) -> None:
        """Make the new ones known."""
        with self._lock:
            new = self._metadata.issued[self._known :]
            self._known += len(new)
            for access_key, secret, token in new:
                self._table.add(access_key, secret, token)
                seconds = self._metadata.lifetime.total_seconds()
                end = threading.Timer(seconds, self._table.expire, (access_key,))
                end.daemon = True
                end.start()


def main() -> None:
    """Serve until the input ends."""
    lifetime = timedelta(seconds=float(sys.argv[1]))
    instance = "".join(sys.argv[2:])
    at = ON_AN_INSTANCE if instance else (HOST, 0)
    forget_aws_settings()
    with Emulator() as emulator, MetadataService(lifetime, at, instance) as metadata:
        demo_endpoints(emulator)
        emulator.add_endpoint(NAME, chat.application((NAME,), token_delay()))
        metadata.on_issue = ExpiringCredentials(metadata, emulator).admit
        _say(
            {
                "AWS_ENDPOINT_URL_SAGEMAKER": emulator.control_url,
                "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": emulator.runtime_url,
                "AWS_ENDPOINT_URL_STS": emulator.control_url,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
            }
        )
        service = Service(emulator, metadata)
        ended = threading.Event()
        counting = threading.Thread(target=_keep_counting, args=(service, ended))
        counting.start()
        for line in sys.stdin:
            method, *arguments = json.loads(line)
            _say(getattr(service, method)(*arguments))
        ended.set()
        counting.join()


def _keep_counting(service: Service, ended: threading.Event) -> None:
    while not ended.wait(_COUNT_SECONDS):
        service.count()


def _say(what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
