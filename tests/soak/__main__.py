"""Runs the soak from a shell: python -m tests.soak --minutes 30; its exit status is the verdict."""

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from tests.emulator.isolation import forget_aws_settings
from tests.soak import report
from tests.soak.site import Site
from tests.soak.soak import Soak


def main() -> int:
    """Run it, print the tables. Returns 1 if a promise was broken."""
    options = _arguments()
    forget_aws_settings()
    with tempfile.TemporaryDirectory() as directory, Site(Path(directory)) as site:
        # The emulator runs in this process, and tells of every caller that leaves.
        logging.basicConfig(filename=Path(directory) / "emulator.log", level=logging.WARNING)
        findings = asyncio.run(Soak(site, options.minutes * 60).run())
    for line in report.lines(findings):
        print(line)
    for each in findings.complaints:
        print(f"BROKEN: {each}")
    print("Promises were broken." if findings.complaints else "Every promise was kept.")
    return 1 if findings.complaints else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=(
            "A proxy with two workers in front of the embedded SageMaker, under mixed traffic, "
            "faults, credentials that end and reloads; every answer is compared byte for byte, and "
            "memory and descriptors are watched."
        ),
    )
    parser.add_argument(
        "--minutes", type=float, default=30, help="how long all of it takes (default: 30)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
