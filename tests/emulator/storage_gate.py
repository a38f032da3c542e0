"""S3's door: whose sessions are good, what they may do, and how long S3 takes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from xml.sax.saxutils import escape

from tests.emulator.credentials import CredentialTable
from tests.emulator.names import CALLER
from tests.emulator.permissions import PermissionLog

Answer = tuple[int, dict[str, Any], Any]
KeyResponse = Callable[[Any, Any, str], Answer]

_ACTIONS = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject"}
_LIST = "s3:ListBucket"
_LONGEST_HOLD = 60.0


class StorageGate:
    """Stands before moto's objects, which checks neither sessions nor permissions by itself.

    The operator, who seeds what callers find, passes unseen.
    """

    def __init__(
        self, credentials: CredentialTable, permissions: PermissionLog, operator: str
    ) -> None:
        self._credentials = credentials
        self._permissions = permissions
        self._operator = operator
        self._denied: frozenset[str] = frozenset()
        self._open = threading.Event()
        self._open.set()
        self._changed = threading.Condition()
        self._waiting = 0
        self._seen: list[str] = []  # access keys, a call each

    @contextmanager
    def denying(self, *actions: str) -> Iterator[None]:
        """Refuse these actions, such as s3:ListBucket, as IAM would without them."""
        self._denied = frozenset(actions)
        try:
            yield
        finally:
            self._denied = frozenset()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Answer nobody."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def wait_for_calls(self, number: int, timeout: float = 10.0) -> None:
        """Return when so many calls are held; TimeoutError if they do not come."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting >= number, timeout):
                raise TimeoutError(f"{self._waiting} calls are held, not {number}")

    def access_keys(self) -> list[str]:
        """The access keys of the calls so far, in turn."""
        with self._changed:
            return list(self._seen)

    def guarding(self, respond: KeyResponse) -> KeyResponse:
        """Wrap moto's way to one object."""

        def key_response(response: Any, request: Any, url: str) -> Answer:
            access_key = response.get_access_key()
            if access_key == self._operator:
                return respond(response, request, url)
            self._hold(access_key)
            bucket, key = response.bucket_name, response.parse_key_name()
            token = request.headers.get("X-Amz-Security-Token")
            refusal = self._session_refusal(access_key, token) or self._action_refusal(
                _ACTIONS.get(request.method, "s3:DeleteObject"), bucket, key
            )
            if refusal:
                return refusal
            if request.method in ("GET", "HEAD") and _is_absent(response, bucket, key):
                # Whoever may not list a bucket is not told what is not in it.
                refusal = self._action_refusal(_LIST, bucket)
            return refusal or respond(response, request, url)

        return key_response

    def _hold(self, access_key: str) -> None:
        with self._changed:
            self._seen.append(access_key)
            self._waiting += 1
            self._changed.notify_all()
        self._open.wait(_LONGEST_HOLD)
        with self._changed:
            self._waiting -= 1

    def _session_refusal(self, access_key: str, token: str | None) -> Answer | None:
        key = self._credentials.get(access_key)
        if key is None:
            message = "The AWS Access Key Id you provided does not exist in our records."
            return _refusal(403, "InvalidAccessKeyId", message)
        if key.token != token:
            return _refusal(400, "InvalidToken", "The provided token is malformed.")
        if key.expired:
            return _refusal(400, "ExpiredToken", "The provided token has expired.")
        return None

    def _action_refusal(self, action: str, bucket: str, key: str = "") -> Answer | None:
        where = f"{bucket}/{key}" if key else bucket
        if action in self._denied:
            message = (
                f"User: {CALLER} is not authorized to perform: {action} on resource: "
                f'"arn:aws:s3:::{where}" because no identity-based policy allows the {action} '
                "action"
            )
            return _refusal(403, "AccessDenied", message)
        self._permissions.add_storage(action, where)
        return None


def _is_absent(response: Any, bucket: str, key: str) -> bool:
    found = response.backend.buckets.get(bucket)
    return found is not None and key not in found.keys


def _refusal(status: int, code: str, message: str) -> Answer:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    )
    return status, {"Content-Type": "application/xml"}, body
