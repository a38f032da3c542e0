"""Runs the demo until Ctrl-C: python -m tests.demo --port 8000."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.demo import gateway, language_model
from tests.demo.guide import print_guide
from tests.demo.language_model import LanguageModel
from tests.demo.openai_model import served_model
from tests.demo.processes import ROOT, Failed, Processes, Stopped, shown
from tests.emulator.isolation import forget_aws_settings

_OWN_MODEL = "my-model"
_REPORT_SECONDS = 9.0


def main() -> int:
    """Run it. Returns the exit status."""
    processes = Processes()
    processes.stop_on_signals()
    options = _arguments()
    try:
        _run(options, processes)
    except Stopped:
        print("\nStopped.")
        return 0
    except Failed as exc:
        print(f"demo: {exc}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace, processes: Processes) -> None:
    folder: Path = options.folder.absolute()
    gateway.check_port(options.port)
    models = {}
    if options.model_url:
        models[_OWN_MODEL] = options.model_url
        served = served_model(options.model_url)
        print(f"{_OWN_MODEL} is {served} at {options.model_url}.", flush=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The emulator runs in this process; the terminal is for the guide.
    logging.basicConfig(filename=folder / "emulator.log", filemode="w", level=logging.WARNING)
    print("Starting …", flush=True)

    forget_aws_settings()
    # Not before the quick checks, and not before a signal is caught: it takes a while to import.
    from tests.emulator.demo import demo_endpoints
    from tests.emulator.emulator import Emulator

    with Emulator() as emulator, processes:
        demo_endpoints(emulator)
        if options.llm:
            models[language_model.ENDPOINT] = _start_language_model(processes, folder)
        for name, url in models.items():
            emulator.add_openai_server(name, url)
        key = os.environ.get("API_KEY") or str(uuid.uuid4())
        proxy = gateway.start(processes, options.port, key, emulator.environment(), folder)
        print_guide(
            proxy,
            gateway.log_file(folder, options.port),
            proxy.models(),
            next(iter(models), "demo-chat"),
        )
        processes.wait()


def _start_language_model(processes: Processes, folder: Path) -> str:
    model = LanguageModel()
    if not model.is_installed():
        language_model.check_compilers()
        print(
            f"Installing {language_model.NAME} and llama.cpp into {shown(model.venv)}. "
            "This once, llama.cpp is compiled: 5 to 7 minutes on two cores.",
            flush=True,
        )
        model.install(processes, folder, _progress())
    return model.start(processes, folder)


def _progress() -> Callable[[str, float], None]:
    """Prints how far the installation is, at intervals."""
    next_report = 0.0

    def report(stage: str, seconds: float) -> None:
        nonlocal next_report
        if seconds >= next_report:
            next_report = seconds + _REPORT_SECONDS
            elapsed = time.strftime("%M:%S", time.gmtime(seconds))
            print(f"  {elapsed}  {stage}", flush=True)

    return report


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.demo",
        description=(
            "An Amazon SageMaker on this machine, the proxy in front of it, and lines to paste "
            "that call them. Needs no AWS account."
        ),
        epilog="Environment: API_KEY, the key to use (a UUID4) instead of a fresh one.",
    )
    parser.add_argument(
        "--port", type=_port, default=8000, help="the proxy's port (default: 8000; 0: any)"
    )
    parser.add_argument(
        "--model-url",
        metavar="URL",
        help="a server with OpenAI's API (llama.cpp, vLLM, Ollama), to be the endpoint "
        f"{_OWN_MODEL}",
    )
    parser.add_argument(
        "--llm",
        action="store_true",
        help=f"a real, small language model as the endpoint {language_model.ENDPOINT}, "
        "compiled on first use",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / ".demo",
        help="where certificate and logs are kept (default: .demo)",
    )
    return parser.parse_args()


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
