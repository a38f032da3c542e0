"""AWS Signature Version 4 for SageMaker's runtime: credentials as values in, headers out.

The algorithm is AWS's ("Create a signed AWS API request", IAM User Guide); the result equals
botocore's ``SigV4Auth`` for every request this proxy makes: a POST with a body, no query string.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import quote

logger = logging.getLogger(__name__)

_ALGORITHM = "AWS4-HMAC-SHA256"

# Of a change. AWS takes what is up to five minutes off.
_NOTED_SECONDS = 60

# Headers that something on the way may rewrite; botocore leaves the same ones unsigned.
_UNSIGNED = frozenset(
    (
        *("baggage", "connection", "expect", "keep-alive", "proxy-authenticate"),
        *("proxy-authorization", "te", "traceparent", "tracestate", "trailer"),
        *("transfer-encoding", "upgrade", "user-agent", "x-amzn-trace-id"),
    )
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """One set of AWS credentials, as it stood at one moment."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


class Signer:
    """Signs requests to one host for one region and service.

    The signing key costs four HMACs and changes once a day and a secret, so the last one is kept.
    """

    def __init__(self, region: str, service: str) -> None:
        self._region = region
        self._service = service
        self._ahead = 0.0  # seconds that the service's clock is ahead of ours, if it has said so
        self._cached: tuple[str, str, bytes] = ("", "", b"")  # secret, date, key

    def follow(self, date: str) -> bool:
        """Sign by the service's clock from now on; whether ``date``, a header of its, tells that.

        A clock of ours that is minutes off would have each call refused.
        """
        try:
            ahead = parsedate_to_datetime(date).timestamp() - time.time()
        except (ValueError, OverflowError):
            return False
        if abs(ahead - self._ahead) > _NOTED_SECONDS:
            logger.warning(
                "the clock is off: AWS is %.0f s ahead, and its clock is signed by", ahead
            )
        self._ahead = ahead
        return True

    def sign(
        self,
        credentials: Credentials,
        *,
        host: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        now: datetime | None = None,
    ) -> dict[str, str]:
        """Return ``headers`` with X-Amz-Date, X-Amz-Security-Token and Authorization added.

        ``host`` is the Host header's value and ``path`` the path as sent, percent-encoded.
        ``now`` is an aware datetime; the service's, as far as is known, when not given.
        """
        seconds = int(time.time() + self._ahead if now is None else now.timestamp())
        timestamp = _timestamp(seconds)
        date = timestamp[:8]
        signed = dict(headers)
        signed["X-Amz-Date"] = timestamp
        if credentials.token:
            signed["X-Amz-Security-Token"] = credentials.token

        canonical = {name.lower(): " ".join(value.split()) for name, value in signed.items()}
        canonical["host"] = host
        names = sorted(canonical.keys() - _UNSIGNED)
        signed_headers = ";".join(names)
        request = "\n".join(
            (
                "POST",
                _canonical_path(path),
                "",
                *(f"{name}:{canonical[name]}" for name in names),
                "",
                signed_headers,
                hashlib.sha256(body).hexdigest(),
            )
        )
        scope = f"{date}/{self._region}/{self._service}/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        to_sign = f"{_ALGORITHM}\n{timestamp}\n{scope}\n{digest}"
        key = self._signing_key(credentials.secret_key, date)
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        signed["Authorization"] = (
            f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={signed_headers}, Signature={signature}"
        )
        return signed

    def _signing_key(self, secret_key: str, date: str) -> bytes:
        cached_secret, cached_date, key = self._cached
        if (cached_secret, cached_date) != (secret_key, date):
            key = f"AWS4{secret_key}".encode()
            for part in (date, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._cached = (secret_key, date, key)  # in one step, for threads may share a signer
        return key


@lru_cache(maxsize=4)
def _timestamp(seconds: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


@lru_cache(maxsize=1024)
def _canonical_path(path: str) -> str:
    """The path without dot segments and empty ones, percent-encoded once more."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    trailing = "/" if segments and path.endswith("/") else ""
    return quote("/" + "/".join(segments) + trailing, safe="/~")
