"""The proxy's own AWS identity: region, addresses, and credentials kept fresh off the loop.

botocore finds all of it, as for any AWS client: environment, profile, container or instance role
(IMDSv2), ``AWS_ENDPOINT_URL_*``, FIPS, dual stack and the partition of the region. Every call into
botocore can block, so each runs in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config as BotoConfig
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError, NoCredentialsError
from botocore.utils import IMDSRegionProvider

from proxy.log import log_fields
from proxy.signing import Credentials

logger = logging.getLogger(__name__)

# botocore renews 15 minutes ahead of the end, so looking this often is ahead of time, too.
_CHECK_SECONDS = 5.0

# A look from scratch that found nothing new speaks for all refusals of so many seconds.
_RELOAD_PAUSE_SECONDS = 1.0

# How long a start waits for credentials before it goes on without, and a call for newer ones.
_START_SECONDS = 5.0
_REPLACE_SECONDS = 10.0

_PLACEHOLDERS = {"aws_access_key_id": "-", "aws_secret_access_key": "-"}

_NOT_LOADED = "not loaded yet"

# The control plane must answer in seconds; nothing a client waits for depends on more.
_CONTROL_PLANE = BotoConfig(
    connect_timeout=5,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=10,
)

# Clients poll for asynchronous results, so a call must not hang for long. There is a connection
# for each object that may be open at a time.
_STORAGE = BotoConfig(
    connect_timeout=5,
    read_timeout=20,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=64,
)


class AwsConfigurationError(ValueError):
    """botocore finds no region or no usable endpoint."""


class Aws:
    """Region, address and boto3's clients. Every method can block: call it in a thread."""

    def __init__(self, region: str = "") -> None:
        """Resolve region and address. Raises ``AwsConfigurationError``."""
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        try:
            # Other AWS SDKs read AWS_REGION; botocore knows AWS_DEFAULT_REGION only.
            named = region or os.environ.get("AWS_REGION") or None
            self._session = boto3.Session(region_name=named)
            if self._session.region_name is None:
                self._session = boto3.Session(region_name=_instance_region(self._session))
            # Only asked where it would call. With credentials given, it looks for none: whether
            # there are any, and how long that takes to find out, is not the start's matter.
            runtime = self._session.client("sagemaker-runtime", **_PLACEHOLDERS)
        except (BotoCoreError, ValueError) as exc:
            raise AwsConfigurationError(str(exc)) from exc
        self.region: str = runtime.meta.region_name
        self.signing_name: str = runtime.meta.service_model.signing_name
        self.runtime_url: str = runtime.meta.endpoint_url.rstrip("/")
        if urlsplit(self.runtime_url).scheme not in ("http", "https"):
            raise AwsConfigurationError(f"{self.runtime_url!r} is no URL to call SageMaker at")
        bundle = os.environ.get("AWS_CA_BUNDLE") or None
        try:
            self.ssl_context = ssl.create_default_context(cafile=bundle)
        except OSError as exc:
            raise AwsConfigurationError(f"AWS_CA_BUNDLE: cannot use {bundle}: {exc}") from exc

    def control_plane(self) -> Any:
        """The boto3 client ``sagemaker``. Raises ``NoCredentialsError``."""
        return self._client("sagemaker", _CONTROL_PLANE)

    def storage(self) -> Any:
        """The boto3 client ``s3``. Raises ``NoCredentialsError``."""
        return self._client("s3", _STORAGE)

    def credentials(self) -> Any:
        """The botocore credentials object, or None when there are none."""
        with self._lock:
            return self._session.get_credentials()

    def reload(self) -> None:
        """Forget the credentials found so far: a profile's file may hold new ones by now."""
        with self._lock:
            # What describes the services is large, long to parse, and the same.
            descriptions = self._session._session.get_component("data_loader")
            session = botocore.session.get_session()
            session.register_component("data_loader", descriptions)
            self._session = boto3.Session(region_name=self.region, botocore_session=session)
            # boto3 has added its own folder to them, once more.
            descriptions.search_paths[:] = dict.fromkeys(descriptions.search_paths)
            self._clients.clear()

    def _client(self, service: str, config: BotoConfig) -> Any:
        """A client keeps the credentials it was made with, so it is made when there are some."""
        with self._lock:
            if service not in self._clients:
                if self._session.get_credentials() is None:
                    raise NoCredentialsError
                self._clients[service] = self._session.client(service, config=config)
            return self._clients[service]


def _instance_region(session: boto3.Session) -> str:
    """The region of the EC2 instance that this runs on. Raises ``AwsConfigurationError``."""
    region: str | None = IMDSRegionProvider(session._session).provide()
    if region is None:
        raise AwsConfigurationError(
            "no AWS region: set REGION_NAME (or AWS_REGION), or region in the configuration"
        )
    return region


class CredentialsProvider:
    """The current credentials as plain values, renewed in a thread ahead of their end."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._source: Any = None
        self._current: Credentials | None = None
        self._problem: str | None = _NOT_LOADED
        self._looked = asyncio.Event()
        self._replacing: asyncio.Task[None] | None = None
        self._nothing_new_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        # A thread of its own: whatever else waits for AWS, renewal does not queue behind it.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="credentials")

    async def start(self) -> None:
        """Begin to keep the credentials fresh; done when they are loaded, or take too long."""
        self._task = asyncio.create_task(self._keep_fresh(), name="credentials")
        with suppress(TimeoutError):
            await asyncio.wait_for(self._looked.wait(), _START_SECONDS)

    async def stop(self) -> None:
        """End the renewal."""
        for task in (self._task, self._replacing):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._executor.shutdown(wait=False, cancel_futures=True)

    @property
    def current(self) -> Credentials | None:
        """What to sign with; None when there is nothing valid."""
        return None if self._expired() else self._current

    @property
    def problem(self) -> str | None:
        """Why there is nothing to sign with; None when there is."""
        if self._expired():
            return self._problem or "expired"
        return None if self._current else self._problem

    @property
    def expires(self) -> float | None:
        """When they end, in seconds since the epoch; None if they do not, or there are none."""
        expires = getattr(self._source, "_expiry_time", None)
        return expires.timestamp() if isinstance(expires, datetime) else None

    async def replace(self, refused: Credentials) -> bool:
        """AWS has refused these: look again from scratch. Whether there are others by now.

        All who are refused meanwhile share one look. botocore takes an instance's credentials for
        valid beyond their end, to outlast a metadata service that is away, so this happens.
        """
        if self._current == refused:
            now = asyncio.get_running_loop().time()
            if self._replacing is None and now - self._nothing_new_at < _RELOAD_PAUSE_SECONDS:
                return False
            if self._replacing is None:
                self._replacing = asyncio.create_task(self._look_from_scratch())
            await asyncio.wait([self._replacing], timeout=_REPLACE_SECONDS)
        return self._current not in (None, refused)

    async def _look_from_scratch(self) -> None:
        before = self._current
        await self._refresh(reload=True)
        if self._current == before:
            self._nothing_new_at = asyncio.get_running_loop().time()
        self._replacing = None

    def _expired(self) -> bool:
        # refresh_needed(0) only compares two times.
        source = self._source
        return isinstance(source, RefreshableCredentials) and source.refresh_needed(0)

    async def _keep_fresh(self) -> None:
        while True:
            await self._refresh()
            self._looked.set()
            await asyncio.sleep(_CHECK_SECONDS)

    async def _refresh(self, *, reload: bool = False) -> None:
        loop = asyncio.get_running_loop()
        problem = None
        try:
            self._current = await loop.run_in_executor(self._executor, self._load, reload)
            if self._current is None:
                problem = "no AWS credentials found"
        except Exception as exc:
            # A provider can fail in any way (a profile may run a program). What was loaded before
            # stays in use for as long as it is valid.
            problem = f"cannot load AWS credentials: {exc}"
        if problem and problem != self._problem:
            log_fields(logger, logging.ERROR, "no fresh AWS credentials", reason=problem)
        elif not problem and self._problem not in (None, _NOT_LOADED):
            log_fields(logger, logging.INFO, "AWS credentials are fresh again")
        self._problem = problem

    def _load(self, reload: bool) -> Credentials | None:
        source = self._source
        if reload:
            self._aws.reload()
        if reload or source is None:
            source = self._aws.credentials()
        frozen = source and source.get_frozen_credentials()
        # Only now: until there are others, what we have goes by its own source's clock.
        self._source = source
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token) if frozen else None
