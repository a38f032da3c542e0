"""The settings: defaults, then the file, then the environment, then the command line."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from proxy import constraints as must_be
from proxy.constraints import LOCAL
from proxy.dialects.chat_templates import TEMPLATES
from proxy.dialects.table import DIALECTS
from proxy.dialects.vectors import POOLINGS
from proxy.names import is_deployment_name
from proxy.tables import fill, masked, setting, tables_of, to_table

DEFAULT_PATH = Path("/etc/sagemaker-proxy/config.toml")


class ConfigError(ValueError):
    """The settings cannot be used. ``problems`` holds every reason, one a line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """``[server]``: what clients connect to."""

    host: str = ""  # empty: every address, IPv4 and IPv6
    port: int = setting(8000, must_be.port)
    workers: int = setting(0, must_be.at_least(0))  # 0: one for each CPU
    tls: bool = True
    certificate: str = ""  # PEM with its chain; empty: a self-signed one is made
    private_key: str = ""
    max_body_bytes: int = setting(25 * 1024 * 1024, must_be.at_least(1))
    max_header_bytes: int = setting(32 * 1024, must_be.at_least(1024))
    max_connections: int = setting(10_000, must_be.at_least(1))
    request_timeout_seconds: float = setting(900.0, must_be.above_zero)
    body_timeout_seconds: float = setting(120.0, must_be.above_zero)
    idle_timeout_seconds: float = setting(75.0, must_be.above_zero)
    drain_seconds: float = setting(30.0, must_be.at_least(0))
    allowed_origins: tuple[str, ...] = setting((), must_be.origins)


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """``[upstream]``: how SageMaker is called."""

    connect_timeout_seconds: float = setting(5.0, must_be.above_zero)
    read_timeout_seconds: float = setting(120.0, must_be.above_zero)
    wake_timeout_seconds: float = setting(300.0, must_be.at_least(0))
    retries: int = setting(3, must_be.at_least(0))
    max_connections: int = setting(4096, must_be.at_least(1))


@dataclass(frozen=True, slots=True)
class CatalogConfig:
    """``[catalog]``: how the list of models is kept."""

    refresh_seconds: float = setting(30.0, must_be.at_least(1))
    include: tuple[str, ...] = ("*",)  # patterns of the endpoints that clients may name
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """``[limits]``: how much at once; what each key may use is in the file of keys."""

    max_concurrent: int = setting(2000, must_be.at_least(1))  # requests to models, of each worker
    max_queued: int = setting(1000, must_be.at_least(0))  # that wait for their turn, of each worker
    queue_seconds: float = setting(10.0, must_be.above_zero)
    backend: str = setting(LOCAL, must_be.backend)  # where the keys' limits are counted
    without_backend: str = setting("open", must_be.one_of(("open", "closed")))  # while that is away


@dataclass(frozen=True, slots=True)
class AsyncInferenceConfig:
    """``[async_inference]``: how the input of asynchronous calls gets to SageMaker."""

    input_location: str = setting("", must_be.folder)  # where bodies are put; empty: nowhere
    max_inline_bytes: int = setting(128_000, must_be.at_least(0))  # of a body that is sent as it is
    # What the addresses of results are sealed with; empty: a key that the host makes for itself.
    seal_key: str = setting("", must_be.seal_key, secret=True)


@dataclass(frozen=True, slots=True)
class TracesConfig:
    """``[traces]``: where OpenTelemetry's traces of the requests are sent."""

    otlp_endpoint: str = setting("", must_be.otlp_endpoint)  # empty: there are none
    sample_ratio: float = setting(1.0, must_be.share)  # of those that are no part of one already


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """``[models.NAME]``: an alias, a stable name for what is deployed."""

    endpoint: str = setting("", must_be.endpoint_name)
    inference_component: str = setting("", must_be.component_name)
    target_variant: str = ""
    dialect: str = setting("", must_be.one_of(DIALECTS))  # empty: by its image, or else openai
    served_model: str = ""  # what the container calls it; empty: the container's only one
    fallbacks: tuple[str, ...] = ()  # aliases or deployments, in the order to try them
    long_requests: bool = False  # chats that are not streamed run as streams
    chat_template: str = setting("", must_be.one_of(TEMPLATES))  # how chats become text
    batch_limit: int = setting(32, must_be.at_least(1))  # inputs that the container takes at once
    dimensions: bool = False  # whether it cuts embeddings to a size
    pooling: str = setting("mean", must_be.one_of(POOLINGS))  # how vectors of tokens become one


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. ``region`` empty means: as the AWS SDK finds it."""

    region: str = ""
    keys_file: str = ""  # empty: keys.toml beside the settings, if there is one
    server: ServerConfig = field(default_factory=ServerConfig)
    upstream: UpstreamConfig = field(default_factory=UpstreamConfig)
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    async_inference: AsyncInferenceConfig = field(default_factory=AsyncInferenceConfig)
    traces: TracesConfig = field(default_factory=TracesConfig)
    models: Mapping[str, ModelConfig] = tables_of(ModelConfig, must_be.model_name)
    # From the environment alone, never the file.
    api_key: str = field(default="", repr=False, metadata={"hidden": True})
    api_key_sha256: str = field(default="", metadata={"hidden": True})


def load(
    path: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Read the settings and check them all. Raises ``ConfigError`` with every problem at once.

    ``path`` is the file the user named; else ``SAGEMAKER_PROXY_CONFIG``, else the default place if
    there is a file. ``overrides`` are ``[server]`` settings from the command line; None is unset.
    """
    problems: list[str] = []
    named = path or environ.get("SAGEMAKER_PROXY_CONFIG")
    file = Path(named) if named else DEFAULT_PATH
    table = {} if not named and not _is_there(file) else _read_file(file, problems)
    config: Config = fill(Config(), table, "", problems)
    region = environ.get("REGION_NAME", "")
    server = {name: value for name, value in (overrides or {}).items() if value is not None}
    config = replace(
        config,
        region=region or config.region,
        server=fill(config.server, server, "server.", problems),
        keys_file=config.keys_file or _beside(file),
        api_key=environ.get("API_KEY", "").strip(),
        api_key_sha256=environ.get("API_KEY_SHA256", ""),
    )
    _check_certificate(config.server, problems)
    _check_models(config.models, problems)
    if problems:
        raise ConfigError(problems)
    return config


def effective(config: Config) -> dict[str, Any]:
    """The settings as nested tables, with secrets masked."""
    shown: dict[str, Any] = to_table(config)
    shown["api_key"] = "********" if config.api_key else ""
    shown["async_inference"]["seal_key"] = "********" if config.async_inference.seal_key else ""
    for section, name in (("limits", "backend"), ("traces", "otlp_endpoint")):
        shown[section][name] = masked(shown[section][name])
    return shown


def _beside(file: Path) -> str:
    keys_file = file.with_name("keys.toml")
    return str(keys_file) if _is_there(keys_file) else ""


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except PermissionError:  # which is told when it is read
        return True


def _read_file(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as exc:
        problems.append(f"{path}: cannot be read: {exc.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        problems.append(f"{path}: is not TOML: {exc}")
    return {}


def _check_certificate(server: ServerConfig, problems: list[str]) -> None:
    if bool(server.certificate) != bool(server.private_key):
        problems.append("server.certificate and server.private_key: set both, or neither")
        return
    if not server.tls and server.certificate:
        problems.append("server.tls: is false, yet server.certificate is set")
    for name in ("certificate", "private_key"):
        value = getattr(server, name)
        if value and not os.access(value, os.R_OK):
            problems.append(f"server.{name}: {value} cannot be read")


def _check_models(models: Mapping[str, ModelConfig], problems: list[str]) -> None:
    for name, model in models.items():
        if not model.endpoint:
            problems.append(f"models.{name}.endpoint: is needed")
        for fallback in model.fallbacks:
            if fallback == name or not (fallback in models or is_deployment_name(fallback)):
                problems.append(
                    f"models.{name}.fallbacks: must name other models, endpoints, or "
                    f"components as endpoint/component, not {fallback!r}"
                )
