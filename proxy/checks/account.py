"""The proxy's own way to AWS: region, credentials, network, clock, and who AWS takes it for."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError

from proxy.checks.finding import Finding, failed, ok, skipped, warning
from proxy.checks.refused import judge_refusal
from proxy.credentials import Aws, AwsConfigurationError

_SECONDS = 5.0

# One attempt: whoever looks wants to know what is wrong now.
_QUICK = BotoConfig(
    connect_timeout=4, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 1}
)

_SOURCES = {
    "env": "environment variables",
    "iam-role": "the instance's role (metadata service)",
    "container-role": "the container's role",
    "shared-credentials-file": "the credentials file, profile {profile}",
    "config-file": "the AWS configuration file, profile {profile}",
    "assume-role": "the role that profile {profile} assumes",
    "assume-role-with-web-identity": "the role that a web identity assumes",
    "custom-process": "the program that profile {profile} runs",
    "sso": "single sign-on, profile {profile}",
}

# AWS refuses a signature that is five minutes off.
_REFUSED_SECONDS = 300
_WRONG_SECONDS = 30


class Account:
    """What the checks of AWS share; each check leaves behind what the next one needs."""

    def __init__(self, region: str) -> None:
        """``region`` is the setting; empty: as the AWS SDK finds it."""
        self._region = region
        self._aws: Aws | None = None
        self._session: Any = None  # once there are credentials
        self._ahead: float | None = None  # seconds that this host's clock is

    @property
    def usable(self) -> bool:
        """Whether there are credentials, so that AWS can be asked."""
        return self._session is not None

    def client(self, service: str) -> Any:
        """A client of boto3's that gives up soon. Only where ``usable``."""
        return self._session.client(service, config=_QUICK)

    def check_credentials(self) -> list[Finding]:
        """There are credentials, and where they come from."""
        try:
            self._aws = aws = Aws(self._region)
        except AwsConfigurationError as exc:
            return [failed(str(exc), "set REGION_NAME, or region in the settings")]
        session = boto3.Session(region_name=aws.region)
        try:
            source = session.get_credentials()
            frozen = source and source.get_frozen_credentials()
        except Exception as exc:  # a provider can fail in any way: a profile may run a program
            return [failed(f"cannot be loaded: {exc}", "aws sts get-caller-identity")]
        if not frozen:
            to_do = "attach a role to the instance, or set AWS_PROFILE or AWS_ACCESS_KEY_ID"
            return [failed("none found", to_do)]
        self._session = session
        expires = getattr(source, "_expiry_time", None)
        end = expires.timestamp() if isinstance(expires, datetime) else None
        return [judge_credentials(source.method, session.profile_name, end, time.time())]

    def check_reach(self) -> list[Finding]:
        """SageMaker's runtime answers, whatever it says: network, DNS and TLS are right."""
        if self._aws is None:
            return [skipped("where it is depends on the region")]
        url, context = self._aws.runtime_url, self._aws.ssl_context
        try:
            sent = time.time()
            date = _ask(url, context)
        except (OSError, http.client.HTTPException) as exc:
            return [judge_unreachable(url, exc)]
        # In the middle of the exchange; the header has whole seconds, half of one lost on average.
        if date is not None:
            self._ahead = (sent + time.time()) / 2 - (date + 0.5)
        return [ok(f"{url} answers")]

    def check_clock(self) -> list[Finding]:
        """This host's clock is near AWS's."""
        if self._ahead is None:
            return [skipped("AWS has not told the time")]
        return [judge_clock(self._ahead)]

    def check_identity(self) -> list[Finding]:
        """Who AWS takes the proxy for; the proxy itself never asks."""
        if not self.usable:
            return [skipped("there are no credentials")]
        try:
            answer: Mapping[str, str] = self.client("sts").get_caller_identity()
        except ClientError as exc:
            return [judge_refusal(exc)]
        except (BotoCoreError, OSError) as exc:
            return [skipped(f"STS cannot be reached, and the proxy needs it for nothing: {exc}")]
        return [ok(answer["Arn"])]


def judge_credentials(method: str, profile: str, end: float | None, now: float) -> Finding:
    """Where they come from, and when they end; ``end`` and ``now`` in seconds since the epoch."""
    source = _SOURCES.get(method, method).format(profile=profile)
    if end is None:
        return ok(f"from {source}; they do not end")
    until = f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if end <= now:
        to_do = "look why they are not renewed: journalctl -u sagemaker-proxy -g credentials"
        return failed(f"from {source}; they ended at {until}", to_do)
    return ok(f"from {source}; good until {until}")


def judge_clock(ahead: float) -> Finding:
    """``ahead`` is by how many seconds this host's clock is ahead of AWS's."""
    way = "ahead of" if ahead > 0 else "behind"
    found = f"{abs(ahead):.0f} seconds {way} AWS's"
    to_do = "set this host's clock: timedatectl; systemctl restart chronyd"
    if abs(ahead) >= _REFUSED_SECONDS:
        return failed(f"{found}: AWS refuses signatures that are five minutes off", to_do)
    return warning(found, to_do) if abs(ahead) >= _WRONG_SECONDS else ok(found)


def judge_unreachable(url: str, exc: Exception) -> Finding:
    """Why there is no way to ``url``."""
    host = urlsplit(url).hostname
    said = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    if isinstance(exc, socket.gaierror):
        return failed(f"the name {host} cannot be resolved: {said}", f"resolvectl query {host}")
    if isinstance(exc, ssl.SSLCertVerificationError):
        to_do = "set AWS_CA_BUNDLE if something in between ends TLS; look at the clock, too"
        return failed(f"the certificate of {host} is not trusted: {exc.verify_message}", to_do)
    if isinstance(exc, TimeoutError):
        said = f"no answer within {_SECONDS:g} seconds"
    to_do = f"let this host out to it: curl -sS -m 5 {url}; security group, route, VPC endpoint"
    return failed(f"{url} cannot be reached: {said}", to_do)


def _ask(url: str, context: ssl.SSLContext) -> float | None:
    """The time of whoever answers at ``url``, in seconds since the epoch, if it tells."""
    parts = urlsplit(url)
    with closing(
        http.client.HTTPSConnection(parts.netloc, timeout=_SECONDS, context=context)
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.netloc, timeout=_SECONDS)
    ) as connection:
        connection.request("GET", "/ping")
        date = connection.getresponse().getheader("Date")
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None
