"""Fuzz every target in turn, each for so many seconds: `python -m tests.fuzz SECONDS`.

New inputs are kept in `.fuzz`, from which the next run begins.
"""

import re
import subprocess
import sys

from tests.fuzz import targets


def main() -> int:
    """Returns 1 if a promise was broken."""
    seconds = sys.argv[1]
    failed = []
    for target in targets.TARGETS:
        command = [sys.executable, "-m", "tests.fuzz.one", target, seconds]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output = done.stdout.decode(errors="replace")
        inputs = re.search(r"number_of_executed_units: (\d+)", output)
        print(f"{target}: {inputs[1] if inputs else 'no'} inputs", flush=True)
        if done.returncode:
            failed.append(target)
            print(output[-4000:])
    if failed:
        names = ", ".join(failed)
        print(f"Promises are broken: {names}. The inputs are in {targets.FOUND}; when that is")
        print("mended, they belong into tests/fuzz/corpus.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
