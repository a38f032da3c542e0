"""The settings: defaults, then the file, then the environment, then the command line."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

DEFAULT_PATH = Path("/etc/sagemaker-proxy/config.toml")


class ConfigError(ValueError):
    """The settings cannot be used. ``problems`` holds every reason, one a line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _setting(default: Any, check: Callable[[Any], str | None] | None = None) -> Any:
    """A field with a default and a check that returns what is wrong with a value, or None."""
    return field(default=default, metadata={"check": check} if check else {})


def _at_least(minimum: float) -> Callable[[Any], str | None]:
    return lambda value: None if value >= minimum else f"must be at least {minimum:g}"


def _above_zero(value: Any) -> str | None:
    return None if value > 0 else "must be above 0"


def _port(value: Any) -> str | None:
    return None if 0 <= value <= 65535 else "must be between 0 and 65535 (0: any free port)"


def _origins(value: Any) -> str | None:
    for origin in value:
        parts = urlsplit(origin)
        if origin != "*" and (
            parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}"
        ):
            return f'{origin!r} is no origin such as "https://app.example.com", nor "*"'
    return None


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """``[server]``: what clients connect to."""

    host: str = ""  # empty: every address, IPv4 and IPv6
    port: int = _setting(8000, _port)
    workers: int = _setting(0, _at_least(0))  # 0: one for each CPU
    tls: bool = True
    certificate: str = ""  # PEM with its chain; empty: a self-signed one is made
    private_key: str = ""
    max_body_bytes: int = _setting(25 * 1024 * 1024, _at_least(1))
    max_header_bytes: int = _setting(32 * 1024, _at_least(1024))
    max_connections: int = _setting(10_000, _at_least(1))
    request_timeout_seconds: float = _setting(900.0, _above_zero)
    body_timeout_seconds: float = _setting(120.0, _above_zero)
    idle_timeout_seconds: float = _setting(75.0, _above_zero)
    drain_seconds: float = _setting(30.0, _at_least(0))
    allowed_origins: tuple[str, ...] = _setting((), _origins)


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """``[upstream]``: how SageMaker is called."""

    connect_timeout_seconds: float = _setting(5.0, _above_zero)
    read_timeout_seconds: float = _setting(120.0, _above_zero)
    wake_timeout_seconds: float = _setting(300.0, _at_least(0))
    retries: int = _setting(3, _at_least(0))
    max_connections: int = _setting(4096, _at_least(1))


@dataclass(frozen=True, slots=True)
class CatalogConfig:
    """``[catalog]``: how the list of models is kept."""

    refresh_seconds: float = _setting(30.0, _at_least(1))


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. ``region`` empty means: as the AWS SDK finds it."""

    region: str = ""
    keys_file: str = ""  # empty: keys.toml beside the settings, if there is one
    server: ServerConfig = field(default_factory=ServerConfig)
    upstream: UpstreamConfig = field(default_factory=UpstreamConfig)
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    api_key: str = field(default="", repr=False)  # from the environment alone, never the file


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
    table = {} if not named and not file.exists() else _read_file(file, problems)
    config: Config = _apply(Config(), table, "", problems)
    region = environ.get("REGION_NAME", "")
    server = {name: value for name, value in (overrides or {}).items() if value is not None}
    config = replace(
        config,
        region=region or config.region,
        server=_apply(config.server, server, "server.", problems),
        keys_file=config.keys_file or _beside(file),
        api_key=environ.get("API_KEY", "").strip(),
    )
    _check_certificate(config.server, problems)
    if problems:
        raise ConfigError(problems)
    return config


def effective(config: Config) -> dict[str, Any]:
    """The settings as nested tables, with secrets masked."""
    shown = _to_table(config)
    shown["api_key"] = "********" if config.api_key else ""
    return shown


def _to_table(section: Any) -> dict[str, Any]:
    return {
        item.name: _to_table(value) if is_dataclass(value) else value
        for item in fields(section)
        for value in [getattr(section, item.name)]
    }


def _beside(file: Path) -> str:
    keys_file = file.with_name("keys.toml")
    return str(keys_file) if keys_file.exists() else ""


def _read_file(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as exc:
        problems.append(f"{path}: cannot be read: {exc.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        problems.append(f"{path}: is not TOML: {exc}")
    return {}


def _apply(section: Any, table: Mapping[str, Any], prefix: str, problems: list[str]) -> Any:
    """``section`` with the values of ``table``; what does not fit is added to ``problems``."""
    hints = get_type_hints(type(section))
    known = {item.name: item for item in fields(section) if item.name != "api_key"}
    changes: dict[str, Any] = {}
    for name, value in table.items():
        full_name = prefix + name
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {prefix + close[0]}?" if close else ""
            problems.append(f"{full_name}: is no setting{hint}")
        elif is_dataclass(current := getattr(section, name)):
            if isinstance(value, dict):
                changes[name] = _apply(current, value, full_name + ".", problems)
            else:
                problems.append(f"{full_name}: must be a table: [{full_name}]")
        else:
            converted, problem = _convert(value, hints[name])
            check = known[name].metadata.get("check")
            problem = problem or (check(converted) if check else None)
            if problem:
                problems.append(f"{full_name}: {problem}, not {value!r}")
            else:
                changes[name] = converted
    return replace(section, **changes)


_TYPE_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def _convert(value: Any, hint: Any) -> tuple[Any, str | None]:
    """``value`` as the type ``hint`` wants it, or what is wrong with it."""
    if get_origin(hint) is tuple:
        item_type = get_args(hint)[0]
        if isinstance(value, list) and all(type(item) is item_type for item in value):
            return tuple(value), None
        return None, f"must be a list, each item {_TYPE_NAMES[item_type]}"
    if hint is float and type(value) is int:
        return float(value), None
    if type(value) is hint:
        return value, None
    return None, f"must be {_TYPE_NAMES[hint]}"


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
