"""The README's table of what can be wrong: what is seen, what shows the cause, what that says."""

import re
from dataclasses import dataclass

from tests.integration.running import ROOT

SECTION = (
    (ROOT / "README.md")
    .read_text()
    .partition("\n## When it doesn't work\n")[2]
    .partition("\n## ")[0]
)


@dataclass(frozen=True)
class Symptom:
    """A row; `command` and `says` are what stands between backticks in its cells."""

    seen: str
    command: str
    says: tuple[str, ...]

    def is_told_by(self, output: str) -> bool:
        """Whether a line of the output is as the row shows it; … stands for anything."""
        pattern = ".*".join(map(re.escape, re.split(r"\s*…\s*", self.says[0])))
        return any(re.search(pattern, line) for line in output.splitlines())


def symptoms() -> dict[str, Symptom]:
    """Each row by what is seen."""
    found: dict[str, Symptom] = {}
    for line in SECTION.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 4 and "`" in cells[1]:
            quoted = [tuple(re.findall(r"`([^`]+)`", cell)) for cell in cells[1:3]]
            found[cells[0]] = Symptom(cells[0], quoted[0][0], quoted[1])
    return found


SYMPTOMS = symptoms()
