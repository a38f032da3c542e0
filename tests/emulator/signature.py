"""Checks that a request is signed with AWS Signature Version 4, by botocore's own code."""

import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.emulator.answers import AwsError
from tests.emulator.credentials import CredentialTable, Key

SERVICE = "sagemaker"
_TOLERANCE = timedelta(minutes=5)
_DATE = "%Y%m%dT%H%M%SZ"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+"
    r"Credential=(?P<key>[^/,\s]+)/(?P<date>\d{8})/(?P<region>[^/,\s]+)/(?P<service>[^/,\s]+)"
    r"/aws4_request,\s*"
    r"SignedHeaders=(?P<headers>[^,\s]+),\s*"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. "
    "Consult the service documentation for details."
)


class SignatureCheck:
    """Accepts requests signed with a known key for one region; raises AwsError for all others."""

    def __init__(
        self,
        credentials: CredentialTable,
        region: str,
        now: Callable[[], datetime],
    ) -> None:
        self._credentials = credentials
        self._region = region
        self._now = now

    def check(self, request: web.Request, body: bytes) -> None:
        """Refuse the request unless its signature is right."""
        authorization = request.headers.get("Authorization")
        if authorization is None:
            raise _refused("MissingAuthenticationTokenException", "Missing Authentication Token")
        match = _AUTHORIZATION.fullmatch(authorization)
        if match is None:
            raise AwsError.of(
                400,
                "IncompleteSignatureException",
                f"Authorization header is not a complete AWS4-HMAC-SHA256 one: '{authorization}'.",
            )
        stamp = self._check_date(request)
        self._check_scope(match, stamp)
        key = self._check_key(match["key"], request)
        signed = match["headers"].split(";")
        _check_signed_headers(request, signed)
        _check_payload_hash(request, body)
        expected = _signature(request, body, signed, stamp, self._region, match["key"], key)
        if not hmac.compare_digest(expected, match["signature"]):
            raise _refused("InvalidSignatureException", _MISMATCH)

    def _check_date(self, request: web.Request) -> str:
        stamp = request.headers.get("X-Amz-Date", "")
        try:
            signed_at = datetime.strptime(stamp, _DATE).replace(tzinfo=UTC)
        except ValueError:
            raise AwsError.of(
                400,
                "IncompleteSignatureException",
                "Authorization header requires existence of a valid 'X-Amz-Date' header.",
            ) from None
        now = self._now()
        shown = now.strftime(_DATE)
        if signed_at < now - _TOLERANCE:
            limit = (now - _TOLERANCE).strftime(_DATE)
            raise _refused(
                "InvalidSignatureException",
                f"Signature expired: {stamp} is now earlier than {limit} ({shown} - 5 min.)",
            )
        if signed_at > now + _TOLERANCE:
            limit = (now + _TOLERANCE).strftime(_DATE)
            raise _refused(
                "InvalidSignatureException",
                f"Signature not yet current: {stamp} is still later than {limit} "
                f"({shown} + 5 min.)",
            )
        return stamp

    def _check_scope(self, match: re.Match[str], stamp: str) -> None:
        if match["service"] != SERVICE:
            message = f"Credential should be scoped to correct service: '{SERVICE}'."
        elif match["region"] != self._region:
            message = f"Credential should be scoped to a valid region, not '{match['region']}'."
        elif match["date"] != stamp[:8]:
            message = (
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date "
                f"from HTTP: '{match['date']}' != '{stamp[:8]}', from '{stamp}'."
            )
        else:
            return
        raise _refused("InvalidSignatureException", message)

    def _check_key(self, access_key: str, request: web.Request) -> Key:
        key = self._credentials.get(access_key)
        if key is None or key.token != request.headers.get("X-Amz-Security-Token"):
            raise _refused(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            )
        if key.expired:
            raise _refused(
                "ExpiredTokenException",
                "The security token included in the request is expired",
            )
        return key


class _GivenHeadersAuth(SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Signs the headers the caller signed, not those that botocore would have chosen."""

    def headers_to_sign(self, request: Any) -> Any:
        return request.headers


def _signature(
    request: web.Request,
    body: bytes,
    signed: list[str],
    stamp: str,
    region: str,
    access_key: str,
    key: Key,
) -> str:
    aws_request = AWSRequest(
        method=request.method,
        url=f"http://{request.headers.get('Host', '')}{request.raw_path}",
        data=body,
    )
    for name in signed:
        for value in request.headers.getall(name, []):
            aws_request.headers.add_header(name, value)
    aws_request.context["timestamp"] = stamp
    auth = _GivenHeadersAuth(Credentials(access_key, key.secret, key.token), SERVICE, region)
    canonical = auth.canonical_request(aws_request)
    return str(auth.signature(auth.string_to_sign(aws_request, canonical), aws_request))


def _check_signed_headers(request: web.Request, signed: list[str]) -> None:
    amazon = {name.lower() for name in request.headers if name.lower().startswith("x-amz-")}
    missing = ({"host"} | amazon) - set(signed)
    absent = [name for name in signed if name not in request.headers]
    if missing or absent:
        named = ", ".join(sorted(missing) + absent)
        raise _refused(
            "InvalidSignatureException",
            f"'{named}' must be both sent and a 'SignedHeader' in the AWS Authorization.",
        )


def _check_payload_hash(request: web.Request, body: bytes) -> None:
    # botocore would take the header's word for the body, and so would miss a changed one.
    claimed = request.headers.get("X-Amz-Content-SHA256")
    if claimed is not None and claimed != sha256(body).hexdigest():
        raise _refused("InvalidSignatureException", _MISMATCH)


def _refused(kind: str, message: str) -> AwsError:
    return AwsError.of(403, kind, message)
