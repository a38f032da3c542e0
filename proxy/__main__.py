"""The command line; what each command does is elsewhere."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import logging
import shutil
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from proxy import (
    __version__,
    certificates,
    control,
    journal,
    log,
    moments,
    serving,
    startup,
    usage_report,
)
from proxy.config import effective
from proxy.control import ControlError
from proxy.journal import JournalError
from proxy.keys import DEFAULT_NAME, Caller, InvalidKeyFormat, check_key, hash_key, new_key
from proxy.progress import Progress
from proxy.startup import StartFailed
from proxy.systemd import logs_to_journal

logger = logging.getLogger("proxy")

_USAGE = (
    "Requests to models, and the tokens that their answers told of, by key and model. The log is "
    "the journal of the unit sagemaker-proxy."
)

_CHECK = (
    "Looks at everything that a call passes, from the settings to AWS, and says what to do. It "
    "changes nothing, and calls a model with --invoke only. The exit status is 1 if anything "
    "failed."
)

_MODELS = "Aliases of the settings, endpoints, and inference components, as SageMaker has them now."


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    parser = command_line()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        status: int = options.run(options)
    except StartFailed as exc:
        if logs_to_journal():
            log.configure()
            logger.error("%s", exc)
        else:
            for line in str(exc).splitlines():
                print(f"sagemaker-proxy: {line}", file=sys.stderr)
        return 1
    return status


def command_line() -> argparse.ArgumentParser:
    """Every command with its options; ``run`` is what it does."""
    parser = argparse.ArgumentParser(
        prog="sagemaker-proxy",
        description="One HTTPS URL and one API key in front of Amazon SageMaker endpoints.",
        epilog="Environment: API_KEY (one UUID4), REGION_NAME, SAGEMAKER_PROXY_CONFIG, and all "
        "that boto3 reads (AWS_*).",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve HTTPS until SIGTERM; SIGHUP reloads")
    serve.add_argument("--config", metavar="FILE", help="settings (TOML)")
    serve.add_argument("--host", help="address to listen on (default: all)")
    serve.add_argument("--port", type=int, help="port to listen on (default: 8000; 0: any)")
    serve.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one for each CPU)"
    )
    serve.set_defaults(run=_serve)

    key = commands.add_parser("new-key", help="print a fresh API key (a UUID4)")
    key.set_defaults(run=_new_key)

    hashing = commands.add_parser("hash-key", help="print the SHA-256 of the key on standard input")
    hashing.set_defaults(run=_hash_key)

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

    looking = commands.add_parser(
        "check", help="find out what does not work, and what to do", description=_CHECK
    )
    looking.add_argument("--config", metavar="FILE", help="settings (TOML)")
    looking.add_argument("--invoke", metavar="MODEL", help="call this model, with an empty object")
    looking.add_argument("--json", action="store_true", help="print JSON")
    looking.set_defaults(run=_look)

    listing = commands.add_parser(
        "models", help="print the models that there are, as a table", description=_MODELS
    )
    listing.add_argument("--config", metavar="FILE", help="settings (TOML)")
    listing.add_argument("--key-name", metavar="NAME", help="what the key of this name may call")
    listing.set_defaults(run=_models)

    usage = commands.add_parser(
        "usage", help="print what each key has used, out of the journal", description=_USAGE
    )
    moment = "a date or time (UTC), or 90m, 24h, 7d: so long ago"
    usage.add_argument("--since", metavar="TIME", type=_moment, help=moment)
    usage.add_argument("--until", metavar="TIME", type=_moment, help="the same; default: now")
    usage.add_argument(
        "--input",
        metavar="FILE",
        help="a log to read in place of the journal; -: standard input",
    )
    usage.add_argument("--json", action="store_true", help="print JSON")
    usage.set_defaults(run=_usage)

    reload = commands.add_parser(
        "reload", help="check the settings; then have the service load them, and wait until it has"
    )
    reload.add_argument("config", metavar="FILE", nargs="?", help="settings (TOML)")
    reload.set_defaults(run=_reload)
    return parser


def _serve(options: argparse.Namespace) -> int:
    overrides = {"host": options.host, "port": options.port, "workers": options.workers}
    serving.serve(options.config, overrides)
    return 0


def _new_key(_options: argparse.Namespace) -> int:
    print(new_key())
    return 0


def _hash_key(_options: argparse.Namespace) -> int:
    terminal = sys.stdin.isatty()
    key = getpass.getpass("key (not shown): ") if terminal else sys.stdin.readline()
    try:
        print(hash_key(check_key(key.strip())))
    except InvalidKeyFormat as exc:
        raise StartFailed(str(exc)) from exc
    return 0


def _new_certificate(options: argparse.Namespace) -> int:
    try:
        pair = certificates.create(options.out, options.host)
    except certificates.CertificateError as exc:
        raise StartFailed(str(exc)) from exc
    print(f"certificate  {pair.certificate}")
    print(f"private key  {pair.private_key}")
    print(f"SHA-256      {pair.fingerprint()}")
    return 0


def _models(options: argparse.Namespace) -> int:
    from proxy import credentials, model_table  # the AWS SDK, which few commands need

    config = startup.load_config(options.config, {})
    caller = Caller(DEFAULT_NAME)
    if options.key_name:
        callers = startup.load_keys(config).callers()
        if options.key_name not in callers:
            raise StartFailed(
                f"there is no key {options.key_name!r}; there are: {', '.join(callers)}"
            )
        caller = callers[options.key_name]
    try:
        models = asyncio.run(model_table.list_models(config, caller))
    except (credentials.AwsConfigurationError, model_table.ModelsUnknown) as exc:
        raise StartFailed(str(exc)) from exc
    print(model_table.format_table(models))
    return 0


def _look(options: argparse.Namespace) -> int:
    from proxy.checks import plan, report  # the AWS SDK, which few commands need

    lines = plan.look(options.config, options.invoke, sys.stderr)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(report.as_json(lines) if options.json else report.as_table(lines, width))
    return report.status(lines)


def _moment(text: str) -> datetime:
    try:
        return moments.parse(text, datetime.now(UTC))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _usage(options: argparse.Namespace) -> int:
    since, until = options.since, options.until
    try:
        with ExitStack() as stack:
            lines: Iterable[bytes] = journal.read(since, until)
            if options.input == "-":
                lines = sys.stdin.buffer
            elif options.input:
                lines = stack.enter_context(Path(options.input).open("rb"))
            usage = usage_report.add_up(lines, since, until, Progress(sys.stderr))
    except JournalError as exc:
        raise StartFailed(str(exc)) from exc
    except OSError as exc:
        raise StartFailed(f"{options.input}: cannot be read: {exc.strerror}") from exc
    print(usage_report.as_json(usage) if options.json else usage_report.as_table(usage))
    return 0


def _reload(options: argparse.Namespace) -> int:
    startup.check(options.config)
    try:
        control.request_reload(control.socket_path())
    except ControlError as exc:
        raise StartFailed(f"not reloaded: {exc}") from exc
    return 0


def _check_config(options: argparse.Namespace) -> int:
    config = startup.check(options.config)
    print(json.dumps(effective(config), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
