"""Reads and writes S3 objects by their s3:// address."""

from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from botocore.exceptions import ClientError


class StoredObject(NamedTuple):
    """An object's bytes and type."""

    body: bytes
    content_type: str


class Store(Protocol):
    """Where asynchronous calls find their input and leave their output; calls block."""

    def get(self, uri: str) -> StoredObject:
        """Return an object; LookupError if there is none."""

    def put(self, uri: str, body: bytes, content_type: str) -> None:
        """Write an object."""


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key; ValueError if the address is no S3 object's."""
    parts = urlsplit(uri)
    key = parts.path.removeprefix("/")
    if parts.scheme != "s3" or not parts.netloc or not key:
        raise ValueError(f"no S3 object's address: {uri}")
    return parts.netloc, key


class S3Store:
    """Objects in S3, through a boto3 client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get(self, uri: str) -> StoredObject:
        """Return an object; LookupError if there is none."""
        bucket, key = split_uri(uri)
        try:
            found = self._client.get_object(Bucket=bucket, Key=key)
        except ClientError as exc:
            raise LookupError(f"Unable to read {uri}: {exc.response['Error']['Code']}") from exc
        return StoredObject(found["Body"].read(), found["ContentType"])

    def put(self, uri: str, body: bytes, content_type: str) -> None:
        """Write an object."""
        bucket, key = split_uri(uri)
        self._client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
