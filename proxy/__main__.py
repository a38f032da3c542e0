"""The command line: serve, new-key, new-certificate, check-config."""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import socket
import ssl
import sys
from dataclasses import replace
from pathlib import Path

import uvloop
from tornado.netutil import bind_sockets

from proxy import __version__, certificates, log
from proxy.config import Config, ConfigError, effective, load
from proxy.credentials import Aws, AwsConfigurationError
from proxy.keys import InvalidKeyFormat, KeyRing, new_key
from proxy.server import Worker

logger = logging.getLogger(__name__)

_BACKLOG = 1024

# Open files that are no configured connection: refused ones, libraries, threads' own.
_OTHER_FILES = 250


class CommandFailed(Exception):
    """The command cannot go on; the message is for the terminal, one problem a line."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    parser = _make_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        status: int = options.run(options)
    except CommandFailed as exc:
        for line in str(exc).splitlines():
            print(f"sagemaker-proxy: {line}", file=sys.stderr)
        return 1
    return status


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sagemaker-proxy",
        description="One HTTPS URL and one API key in front of Amazon SageMaker endpoints.",
        epilog="Environment: API_KEY (one UUID4), REGION_NAME, SAGEMAKER_PROXY_CONFIG, and all "
        "that boto3 reads (AWS_*).",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve HTTPS until SIGTERM")
    serve.add_argument("--config", metavar="FILE", help="settings (TOML)")
    serve.add_argument("--host", help="address to listen on (default: all)")
    serve.add_argument("--port", type=int, help="port to listen on (default: 8000; 0: any)")
    serve.set_defaults(run=_serve)

    key = commands.add_parser("new-key", help="print a fresh API key (a UUID4)")
    key.set_defaults(run=_new_key)

    certificate = commands.add_parser("new-certificate", help="write a self-signed certificate")
    certificate.add_argument(
        "--host",
        metavar="NAME",
        action="extend",
        nargs="+",
        required=True,
        help="host names and addresses it is for",
    )
    certificate.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder to write to"
    )
    certificate.set_defaults(run=_new_certificate)

    check = commands.add_parser(
        "check-config", help="print every problem of the settings, or the settings in effect"
    )
    check.add_argument("config", metavar="FILE", nargs="?", help="settings (TOML)")
    check.set_defaults(run=_check_config)
    return parser


def _serve(options: argparse.Namespace) -> int:
    config = _load(options.config, {"host": options.host, "port": options.port})
    keys = _load_keys(config)
    log.configure()
    ssl_context, fingerprint = _prepare_tls(config)
    try:
        aws = Aws(config.region)
    except AwsConfigurationError as exc:
        raise CommandFailed(str(exc)) from exc
    sockets = _bind(config)
    config = _fit_file_limit(config)
    port = sockets[0].getsockname()[1]
    scheme = "https" if config.server.tls else "http"
    worker = Worker(config, keys, aws, sockets, ssl_context)
    uvloop.run(
        worker.run(
            url=f"{scheme}://{config.server.host or 'localhost'}:{port}",
            certificate_sha256=fingerprint,
        )
    )
    # A thread that still waits for AWS must not hold up the exit.
    logging.shutdown()
    os._exit(0)


def _new_key(_options: argparse.Namespace) -> int:
    print(new_key())
    return 0


def _new_certificate(options: argparse.Namespace) -> int:
    try:
        pair = certificates.create(options.out, options.host)
    except certificates.CertificateError as exc:
        raise CommandFailed(str(exc)) from exc
    print(f"certificate  {pair.certificate}")
    print(f"private key  {pair.private_key}")
    print(f"SHA-256      {pair.fingerprint()}")
    return 0


def _check_config(options: argparse.Namespace) -> int:
    problems: list[str] = []
    config = Config()
    try:
        config = _load(options.config, {})
    except CommandFailed as exc:
        problems.append(str(exc))
    checks = [_load_keys, _prepare_tls] if config.server.certificate else [_load_keys]
    for check in checks:
        try:
            check(config)
        except CommandFailed as exc:
            problems.append(str(exc))
    if problems:
        raise CommandFailed("\n".join(problems))
    print(json.dumps(effective(config), indent=2))
    return 0


def _load(path: str | None, overrides: dict[str, object]) -> Config:
    try:
        return load(path, overrides=overrides)
    except ConfigError as exc:
        raise CommandFailed(str(exc)) from exc


def _load_keys(config: Config) -> KeyRing:
    if not config.api_key:
        raise CommandFailed(
            "no API key: set API_KEY to a UUID4; "
            "make one with: sagemaker-proxy new-key (or: python -m proxy new-key)"
        )
    try:
        return KeyRing.of_single_key(config.api_key)
    except InvalidKeyFormat as exc:
        raise CommandFailed(str(exc)) from exc


def _prepare_tls(config: Config) -> tuple[ssl.SSLContext | None, str | None]:
    """The context to serve with, and the certificate's fingerprint; neither without TLS."""
    server = config.server
    if not server.tls:
        return None, None
    try:
        if server.certificate:
            pair = certificates.CertificatePair(Path(server.certificate), Path(server.private_key))
        else:
            pair = certificates.find_or_create(certificates.state_directory())
        return pair.ssl_context(), pair.fingerprint()
    except certificates.CertificateError as exc:
        raise CommandFailed(str(exc)) from exc


def _bind(config: Config) -> list[socket.socket]:
    server = config.server
    try:
        return bind_sockets(server.port, server.host or None, backlog=_BACKLOG)
    except OSError as exc:
        where = f"{server.host or '*'}:{server.port}"
        raise CommandFailed(f"cannot listen on {where}: {exc.strerror or exc}") from exc


def _fit_file_limit(config: Config) -> Config:
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


if __name__ == "__main__":
    sys.exit(main())
