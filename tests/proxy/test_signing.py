"""Signing equals botocore's SigV4Auth, whatever the request."""

import string
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from unittest import mock

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from proxy.signing import Credentials, Signer

VISIBLE = "".join(map(chr, range(0x20, 0x7F)))
TOKEN = string.ascii_letters + string.digits + "-"

header_names = st.one_of(
    st.sampled_from(
        ["Content-Type", "Accept", "X-Amzn-SageMaker-Custom-Attributes", "User-Agent", "Expect"]
    ),
    st.text(TOKEN, min_size=1, max_size=40).map(lambda name: f"X-Amzn-SageMaker-{name}"),
)
headers = st.dictionaries(header_names, st.text(VISIBLE + "\t", max_size=60), max_size=8).filter(
    lambda given: len({name.lower() for name in given}) == len(given)
)
paths = st.lists(
    st.one_of(st.text(TOKEN + "._~%$&+,;=@ é", max_size=30), st.sampled_from([".", "..", ""])),
    max_size=6,
).map(lambda segments: "/" + "/".join(segments))
hosts = st.sampled_from(
    ["runtime.sagemaker.us-east-1.amazonaws.com", "127.0.0.1:5000", "localhost:8443", "[::1]:99"]
)
dates = st.datetimes(
    datetime(2000, 1, 1),
    datetime(2100, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=9, minutes=30))]),
)
secrets = st.text(string.ascii_letters + string.digits + "+/", min_size=1, max_size=60)


def botocore_headers(
    credentials: Credentials,
    region: str,
    host: str,
    path: str,
    sent: dict[str, str],
    body: bytes,
    now: datetime,
) -> dict[str, str]:
    request = AWSRequest("POST", f"https://{host}{path}", headers=dict(sent), data=body)
    auth = botocore.auth.SigV4Auth(
        BotoCredentials(credentials.access_key, credentials.secret_key, credentials.token),
        "sagemaker",
        region,
    )
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=now):
        auth.add_auth(request)
    return dict(request.headers)


@given(
    secret=secrets,
    token=st.none() | st.text(string.ascii_letters + "+/=", min_size=1, max_size=200),
    region=st.sampled_from(["us-east-1", "cn-north-1", "eu-central-1"]),
    host=hosts,
    path=paths,
    sent=headers,
    body=st.binary(max_size=200),
    now=dates,
)
def test_every_request_is_signed_as_botocore_signs_it(
    secret: str,
    token: str | None,
    region: str,
    host: str,
    path: str,
    sent: dict[str, str],
    body: bytes,
    now: datetime,
) -> None:
    credentials = Credentials("AKIDEXAMPLE", secret, token)
    utc = now.astimezone(UTC)

    ours = Signer(region, "sagemaker").sign(
        credentials, host=host, path=path, headers=sent, body=body, now=now
    )

    theirs = botocore_headers(credentials, region, host, path, sent, body, utc)
    assert ours == theirs


def test_one_signer_serves_changing_days_and_secrets() -> None:
    signer = Signer("us-east-1", "sagemaker")
    path = "/endpoints/e/invocations"
    midnight = datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC)
    for secret in ("one", "two", "one"):
        for now in (midnight, midnight + timedelta(seconds=1), midnight):
            credentials = Credentials("AKID", secret)
            ours = signer.sign(credentials, host="h", path=path, headers={}, body=b"", now=now)
            theirs = botocore_headers(credentials, "us-east-1", "h", path, {}, b"", now)
            assert ours == theirs


def test_the_clock_is_used_when_no_time_is_given() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    signed = Signer("us-east-1", "sagemaker").sign(
        Credentials("AKID", "secret"), host="h", path="/", headers={}, body=b""
    )
    said = datetime.strptime(signed["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert before <= said <= datetime.now(UTC)


def test_the_services_clock_is_used_once_it_is_known() -> None:
    signer = Signer("us-east-1", "sagemaker")
    there = datetime.now(UTC) + timedelta(minutes=20)
    assert signer.follow(format_datetime(there, usegmt=True))
    assert not signer.follow("")
    assert not signer.follow("soon")
    signed = signer.sign(Credentials("AKID", "secret"), host="h", path="/", headers={}, body=b"")
    said = datetime.strptime(signed["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs(said - there) < timedelta(seconds=30)


@pytest.mark.parametrize("secret", ["wJalrXUtnFEMI/K7MDENG"])
def test_credentials_do_not_show_their_secrets(secret: str) -> None:
    shown = repr(Credentials("AKID", secret, f"token-{secret}"))
    assert secret not in shown
    assert "AKID" in shown
