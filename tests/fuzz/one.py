"""Fuzz one target with atheris for a while: `python -m tests.fuzz.one TARGET SECONDS`."""

import sys

import atheris

from tests.fuzz import targets

# A hang is a finding, too, and so is an input that takes all memory.
_BOUNDS = ("-timeout=60", "-rss_limit_mb=2048", "-max_len=4096")


def main() -> None:
    """Fuzz; new inputs that reach further are kept, and one that breaks a promise ends it."""
    target, seconds = sys.argv[1:]
    with atheris.instrument_imports(include=["proxy"]):
        check = targets.load(target)
    kept = targets.KEPT / target
    kept.mkdir(parents=True, exist_ok=True)
    targets.FOUND.mkdir(exist_ok=True)
    arguments = [sys.argv[0], f"-max_total_time={seconds}", *_BOUNDS, "-print_final_stats=1"]
    arguments.append(f"-artifact_prefix={targets.FOUND}/{target}-")
    atheris.Setup([*arguments, str(kept), str(targets.CORPUS / target)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
