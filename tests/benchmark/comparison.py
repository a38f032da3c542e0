"""The whole comparison: which gateways, which measures, and what is written at the end."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmark import (
    apis,
    growth,
    measures,
    pictures,
    procfs,
    progress,
    report,
    site,
    special,
)
from tests.benchmark.control_plane import ControlPlane
from tests.benchmark.gateways.gateway import Gateway
from tests.benchmark.gateways.hello import Hello
from tests.benchmark.gateways.litellm import LiteLLM
from tests.benchmark.gateways.nginx import Nginx
from tests.benchmark.gateways.ours import Ours
from tests.benchmark.gateways.portkey import Portkey
from tests.benchmark.gateways.predecessor import Predecessor
from tests.benchmark.gateways.tensorzero import TensorZero
from tests.benchmark.measures import Bench
from tests.benchmark.programs import Programs
from tests.benchmark.results import Results
from tests.benchmark.rounds import Measure, Plan, at_half_load, measure, measure_once, start_all
from tests.benchmark.targets import judge

GATEWAYS: tuple[Gateway, ...] = (
    Ours(),
    Nginx(),
    Hello(),
    LiteLLM(),
    Predecessor(),
    Ours(tls=False),
    TensorZero(),
    Portkey(),
    Nginx(tls=False),
    Hello(tls=False),
)

_ROUND: dict[str, Measure] = {
    "plain requests": measures.plain,
    "paced streams": measures.paced_streams,
    "fast streams": measures.fast_streams,
    "500 streams": measures.many_streams,
    "handshakes": measures.handshakes,
}
_QUICK_ROUND: dict[str, Measure] = {
    "plain requests": measures.plain,
    "paced streams": measures.paced_streams,
}

# With thousands of streams others than these take minutes, or fall over.
_FEW = ("ours", "nginx", "ours-plain", "tensorzero", "hello")


def run(
    *, plan: Plan, rounds: int | None, only: Sequence[str] | None, directory: Path, quick: bool
) -> Results:
    """Measure and write. Raises `Failed` if nothing can be measured here."""
    rounds = rounds or plan.rounds
    gateways = [each for each in GATEWAYS if not only or each.name in (*only, "ours")]
    results = Results(about=_about(rounds, plan))
    before = procfs.stolen()
    with ControlPlane(site.ENDPOINTS) as control_plane, Programs() as programs:
        with progress.step("compile, and start the upstream"):
            place = site.prepare(programs, control_plane)
        benches = start_all(place, gateways, plan, results)
        try:
            _measure(benches, results, rounds, quick=quick)
            if any(bench.gateway.name == "ours" for bench in benches):
                special.measure_variants(place, control_plane, plan, results, quick=quick)
                apis.measure_apis(place, plan, results)
            if not quick:
                growth.measure(place, control_plane, plan.seconds, results)
        except KeyboardInterrupt:
            progress.say("stopped; what there is, is written")
            raise
        finally:
            taken, all_of_it = (
                now - then for now, then in zip(procfs.stolen(), before, strict=True)
            )
            results.about["stolen_share"] = taken / all_of_it
            _write(results, directory)
    return results


def _measure(benches: Sequence[Bench], results: Results, rounds: int, *, quick: bool) -> None:
    for bench in benches:
        measure_once(bench, "idle memory", measures.idle_memory, results)
    measure(benches, _QUICK_ROUND if quick else _ROUND, rounds, results)
    few = [bench for bench in benches if bench.gateway.name in _FEW]
    half: dict[str, Measure] = {"half load": at_half_load(results, "ours")}
    if quick:
        few = [bench for bench in few if bench.gateway.name in ("ours", "nginx")]
        measure(few, half | {"500 streams": measures.many_streams}, 1, results)
    else:
        measure(benches, half, rounds, results)
    for bench in few:
        measure_once(bench, "2,000 streams", measures.most_streams, results)


def _write(results: Results, directory: Path) -> None:
    verdicts = judge(results)
    directory.mkdir(parents=True, exist_ok=True)
    results.write(
        directory / "results.json",
        [
            {
                "figure": verdict.target.figure,
                "value": verdict.value,
                "least": verdict.target.least,
                "aim": verdict.target.aim,
                "verdict": verdict.text,
            }
            for verdict in verdicts
        ],
    )
    text = report.markdown(results, verdicts)
    (directory / "table.md").write_text(text)
    pictures.write(results, directory)
    print(text)


def _about(rounds: int, plan: Plan) -> dict[str, object]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{_processor()}, Linux {platform.release()}",
        "python": f"{platform.python_version()} ({platform.python_compiler()})",
        "plan": f"{rounds} round{'s' * (rounds != 1)}, {plan.seconds.plain:g} s each",
        "seconds": asdict(plan.seconds),
        "command": " ".join(sys.argv[1:]),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
