"""Runs the embedded SageMaker from a shell until Ctrl-C: python -m tests.emulator."""

import argparse
import shlex
import signal
import threading

from tests.emulator.demo import demo_endpoints
from tests.emulator.emulator import Emulator
from tests.emulator.isolation import forget_aws_settings


def main() -> None:
    """Start, print what a shell needs to know, and wait."""
    options = _arguments()
    forget_aws_settings()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Emulator(seed=options.seed) as emulator:
        demo_endpoints(emulator)
        for name, url in options.endpoint:
            emulator.add_endpoint(name, url)
        for name, url in options.openai:
            emulator.add_openai_server(name, url)
        for variable, value in emulator.environment().items():
            print(f"export {variable}={shlex.quote(value)}")
        print("# Ctrl-C ends it.", flush=True)
        stop.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.emulator",
        description=(
            "An Amazon SageMaker on this machine's loopback, for demos and tests: control plane, "
            "runtime with signatures and event streams, S3, and the endpoints demo-chat, "
            "demo-echo and demo-regression. Prints the environment that leads AWS clients to it."
        ),
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="decides where streams are cut (default: 0)"
    )
    parser.add_argument(
        "--endpoint",
        metavar="NAME=URL",
        type=_named_url,
        action="append",
        default=[],
        help="an endpoint in front of a container with /ping and /invocations; may be repeated",
    )
    parser.add_argument(
        "--openai",
        metavar="NAME=URL",
        type=_named_url,
        action="append",
        default=[],
        help="an endpoint in front of a server that speaks OpenAI's API; may be repeated",
    )
    return parser.parse_args()


def _named_url(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not name or not equals or not url.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=http://…")
    return name, url


if __name__ == "__main__":
    main()
