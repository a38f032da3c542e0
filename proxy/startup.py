"""What must be right before anything is served: settings, keys, certificate, seal, limits."""

from __future__ import annotations

import logging
import resource
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from proxy import certificates, key_file, log
from proxy.config import Config, ConfigError, load
from proxy.key_file import KeyFileError
from proxy.keys import (
    DEFAULT_NAME,
    NO_LIMITS,
    Caller,
    InvalidKeyFormat,
    Key,
    KeyRing,
    check_key,
    hash_key,
)
from proxy.sealing import Seal, shared_key
from proxy.windows import Windows, WindowsFull

logger = logging.getLogger(__name__)

# Open files that are no configured connection: refused ones, libraries, threads' own.
_OTHER_FILES = 250


class StartFailed(Exception):
    """Something is not right; the message is for the terminal, one problem a line."""


def load_config(path: str | None, overrides: Mapping[str, Any]) -> Config:
    """The settings. Raises ``StartFailed``."""
    try:
        return load(path, overrides=overrides)
    except ConfigError as exc:
        raise StartFailed(str(exc)) from exc


def load_keys(config: Config) -> KeyRing:
    """The keys of the file and of API_KEY. Raises ``StartFailed``."""
    keys: dict[str, Key] = {}
    try:
        if config.keys_file:
            keys.update(key_file.read(Path(config.keys_file)))
        if config.api_key:
            keys[hash_key(check_key(config.api_key))] = Key(Caller(DEFAULT_NAME))
        if config.api_key_sha256:  # of which the supervisor has made this
            keys[config.api_key_sha256] = Key(Caller(DEFAULT_NAME))
    except (KeyFileError, InvalidKeyFormat) as exc:
        raise StartFailed(str(exc)) from exc
    if not keys:
        raise StartFailed(
            (f"{config.keys_file}: holds no key" if config.keys_file else "no API key")
            + ": set API_KEY to a UUID4, or write keys.toml; "
            "make one with: sagemaker-proxy new-key (or: python -m proxy new-key)"
        )
    return KeyRing(keys)


def shared_folder(given: Path | None) -> Path:
    """The folder that the workers share. Raises ``StartFailed``.

    A supervisor of an older release gives none: then this worker counts alone.
    """
    try:
        return given or Path(tempfile.mkdtemp(prefix="shared-"))
    except OSError as exc:
        raise StartFailed(f"there is no place to count: {exc}") from exc


def open_windows(shared: Path, column: int, keys: KeyRing) -> Windows:
    """The counts of every key that has a limit. Raises ``StartFailed``."""
    names = [caller.name for caller in keys.callers().values() if caller.limits != NO_LIMITS]
    try:
        return Windows(shared, column, names)
    except (OSError, WindowsFull) as exc:
        raise StartFailed(f"cannot count what the keys use: {exc}") from exc


class Tls(NamedTuple):
    """What to serve TLS with, and the certificate's fingerprint and end; nothing without TLS."""

    context: ssl.SSLContext | None = None
    fingerprint: str | None = None
    expires: float | None = None  # in seconds since the epoch


def prepare_tls(config: Config) -> Tls:
    """What the configuration says of TLS.

    Makes a self-signed certificate if none is configured. Raises ``StartFailed``.
    """
    server = config.server
    if not server.tls:
        return Tls()
    try:
        if server.certificate:
            pair = certificates.CertificatePair(Path(server.certificate), Path(server.private_key))
        else:
            pair = certificates.find_or_create(certificates.state_directory())
        return Tls(pair.ssl_context(), pair.fingerprint(), pair.expires())
    except certificates.CertificateError as exc:
        raise StartFailed(str(exc)) from exc


def prepare_seal(config: Config) -> Seal | None:
    """What seals where the results of asynchronous calls are, under a key that all workers share.

    The key is the configuration's, or a file in the state folder, so that a result's address
    outlives reloads and restarts. None, and a warning in the log, where it cannot be kept.
    """
    if config.async_inference.seal_key:
        return Seal(bytes.fromhex(config.async_inference.seal_key))
    path = certificates.state_directory() / "seal"
    try:
        return Seal(shared_key(path))
    except (OSError, ValueError) as exc:
        log.log_fields(
            logger,
            logging.WARNING,
            "asynchronous calls are answered without a Location, for its key cannot be kept",
            file=str(path),
            reason=getattr(exc, "strerror", None) or str(exc),
        )
        return None


def check(path: str | None) -> Config:
    """The settings, if they, the keys and the certificate can be used.

    Raises ``StartFailed`` with all that is wrong.
    """
    problems: list[str] = []
    config = Config()
    try:
        config = load_config(path, {})
    except StartFailed as exc:
        problems.append(str(exc))
    # A configured certificate is looked at; none is made here.
    checks: list[Callable[[Config], object]] = [load_keys]
    if config.server.certificate:
        checks.append(prepare_tls)
    for each in checks:
        try:
            each(config)
        except StartFailed as exc:
            problems.append(str(exc))
    if problems:
        raise StartFailed("\n".join(problems))
    return config


def fit_file_limit(config: Config) -> Config:
    """Allow as many open files as the system lets us, and no more connections than fit in."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = config.server.max_connections + config.upstream.max_connections + _OTHER_FILES
    if hard == resource.RLIM_INFINITY or wanted <= hard:
        return config
    # A client's request takes one connection here and one there.
    share = max((hard - _OTHER_FILES) // 2, 1)
    server = replace(config.server, max_connections=min(config.server.max_connections, share))
    upstream = replace(config.upstream, max_connections=min(config.upstream.max_connections, share))
    log.log_fields(
        logger,
        logging.WARNING,
        "the limit of open files (LimitNOFILE, ulimit -n) is too low for the configured "
        "max_connections; going on with fewer",
        open_files=hard,
        server_max_connections=server.max_connections,
        upstream_max_connections=upstream.max_connections,
    )
    return replace(config, server=server, upstream=upstream)
