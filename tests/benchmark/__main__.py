"""Compares gateways on this machine: python -m tests.benchmark [--quick]."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from tests.benchmark import comparison, progress
from tests.benchmark.programs import Failed
from tests.benchmark.rounds import FULL, QUICK

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Measure, print the table, and write it down."""
    options = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        comparison.run(
            plan=QUICK if options.quick else FULL,
            rounds=options.rounds,
            only=options.only,
            directory=options.results,
            quick=options.quick,
        )
    except KeyboardInterrupt:
        progress.say("stopped")
        return 130
    except Failed as exc:
        print(f"the benchmark cannot run: {exc}", file=sys.stderr)
        return 1
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of what matters most")
    parser.add_argument("--rounds", type=int, help="instead of what the plan has")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="gateways; ours is always among them"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        help="the folder to write to (default: %(default)s)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
