"""The instance metadata service (IMDSv2) of an instance with a role, as credentials rotate."""

import json
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

ROLE = "proxy-role"
ZONE = "us-east-1a"  # a region's name and a letter
_ROLES = "/latest/meta-data/iam/security-credentials/"
_ZONE = "/latest/meta-data/placement/availability-zone/"
_INSTANCE = "/latest/meta-data/instance-id"
_LIFECYCLE = "/latest/meta-data/autoscaling/target-lifecycle-state"

ON_AN_INSTANCE = ("169.254.169.254", 80)  # where it is there


class MetadataService:
    """Hands out credentials of a role, new ones each time, as a context manager.

    `lifetime` is that of the credentials; `away` makes the service fail, as an instance's does
    while it is overloaded, and `slow` take so many seconds for each answer; `ahead`, so far its
    clock is ahead of this machine's; `lifecycle_state`, where the group of an instance leads it. It
    listens at an address, on a free port by default.
    """

    def __init__(
        self, lifetime: timedelta, at: tuple[str, int] = ("127.0.0.1", 0), instance: str = ""
    ) -> None:
        self.lifetime = lifetime
        self.away = threading.Event()
        self.slow = 0.0
        self.ahead = timedelta()
        self.lifecycle_state = ""  # of an instance without a group
        self.issued: list[tuple[str, str, str]] = []  # access key, secret, token
        self.on_issue: Callable[[], None] = lambda: None  # before they are handed out
        self._tokens: set[str] = set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                time.sleep(service.slow)
                if self.path != "/latest/api/token" or service.away.is_set():
                    self.send_error(503)
                    return
                token = secrets.token_hex()
                service._tokens.add(token)
                self._answer(token)

            def do_GET(self) -> None:
                time.sleep(service.slow)
                if service.away.is_set():
                    self.send_error(503)
                elif self.headers.get("X-aws-ec2-metadata-token") not in service._tokens:
                    self.send_error(401)  # version 1 is off
                elif self.path == _ROLES:
                    self._answer(ROLE)
                elif self.path == _ROLES + ROLE:
                    self._answer(json.dumps(service._issue()))
                elif self.path == _ZONE:
                    self._answer(ZONE)
                elif self.path == _INSTANCE and instance:
                    self._answer(instance)
                elif self.path == _LIFECYCLE and service.lifecycle_state:
                    self._answer(service.lifecycle_state)
                else:
                    self.send_error(404)

            def _answer(self, text: str) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(at, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """What AWS_EC2_METADATA_SERVICE_ENDPOINT has to be."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _issue(self) -> dict[str, str]:
        issued = (f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex())
        self.issued.append(issued)
        self.on_issue()
        access_key, secret, token = issued
        now = datetime.now(UTC) + self.ahead
        return {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "LastUpdated": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "AccessKeyId": access_key,
            "SecretAccessKey": secret,
            "Token": token,
            "Expiration": (now + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
