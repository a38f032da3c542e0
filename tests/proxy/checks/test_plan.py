"""Settings that cannot be used are told, problem by problem, and nothing is made of them."""

import io
from pathlib import Path

from proxy.checks import plan
from proxy.checks.finding import Verdict


def test_every_problem_of_the_settings_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[server]\nport = -1\ntsl = false\n")
    first, second, rest = plan.look(str(path), None, io.StringIO())
    assert first.finding.verdict is second.finding.verdict is Verdict.FAILED
    assert "server.port: must be between" in first.finding.found
    assert "did you mean server.tls?" in second.finding.found
    assert (rest.check, rest.finding.verdict) == ("all else", Verdict.SKIPPED)
