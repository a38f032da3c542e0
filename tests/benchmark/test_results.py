import json
from pathlib import Path

import pytest

from tests.benchmark import pictures, report, samples
from tests.benchmark.results import Results, Row
from tests.benchmark.targets import TARGETS, Target, judge, two_workers


def results(**rows: dict[str, list[float]]) -> Results:
    made = Results(about={"date": "2026-11-27", "machine": "a machine", "plan": "2 rounds"})
    for name, figures in rows.items():
        row = Row(name.replace("_", "-"), name.title(), tls=not name.endswith("plain"))
        made.rows[row.name] = row
        for figure, values in figures.items():
            for number, value in enumerate(values):
                row.add(number, {figure: value})
    return made


def test_rounds_are_summed_up_by_their_median() -> None:
    summary = samples.summarize([5.0, 1.0, 3.0])
    assert (summary.median, summary.low, summary.high, summary.rounds) == (3, 1, 5, 3)
    assert summary.spread == pytest.approx(4 / 3)
    with pytest.raises(ValueError, match="no round"):
        samples.summarize([])


def test_a_ratio_is_taken_round_by_round() -> None:
    found = samples.ratio({0: 10.0, 1: 40.0, 2: 9.0}, {0: 5.0, 1: 10.0})
    assert found is not None
    assert (found.low, found.high, found.rounds) == (2, 4, 2)
    assert samples.ratio({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(None, "not measured"), (0.5, "aim met"), (1.0, "aim met"), (2.0, "met"), (2.1, "MISSED")],
)
def test_a_figure_is_compared_with_both_bounds(value: float | None, verdict: str) -> None:
    assert Target("a figure", lambda _: None, 2.0, 1.0).verdict(value) == verdict


def test_more_can_be_better() -> None:
    target = Target("a figure", lambda _: None, 30, 50, more_is_better=True)
    assert [target.verdict(value) for value in (29, 30, 50)] == ["MISSED", "met", "aim met"]


def test_a_run_without_peers_judges_what_it_has() -> None:
    made = results(ours={"many_delivered": [0.97], "plain_per_second": [3000.0]})
    verdicts = {verdict.target.figure: verdict.text for verdict in judge(made)}
    assert len(verdicts) == len(TARGETS)
    assert verdicts["chunks delivered at 500 streams 10 ms apart, of the ideal"] == "aim met"
    assert set(verdicts.values()) == {"aim met", "not measured"}


def test_streams_that_are_not_served_miss_whatever_they_hold() -> None:
    served = {"most_open": [2000.0], "most_errors": [0.0], "most_worker_rss_mb": [140.0]}
    refused = served | {"most_errors": [3.0]}
    figure = "2,000 open streams in one worker, no error; memory (RSS)"

    def verdict(row: dict[str, list[float]]) -> str:
        (found,) = [each for each in judge(results(ours=row)) if each.target.figure == figure]
        return found.text

    assert verdict(served) == "aim met"
    assert verdict(served | {"most_worker_rss_mb": [200.0]}) == "met"
    assert verdict(refused) == "MISSED"


def test_two_workers_are_judged_by_what_they_have_served() -> None:
    made = results(
        ours_one_worker={"capped_per_second": [800.0]},
        ours_two_workers={"capped_per_second": [1500.0]},
    )
    assert two_workers(made) == pytest.approx(1.875)


def test_what_is_missing_is_told_and_what_is_there_is_drawn(tmp_path: Path) -> None:
    made = results(
        ours={"plain_per_second": [100.0, 120.0], "plain_cpu_us": [300.0, 310.0]},
        nginx={"plain_per_second": [1000.0, 1000.0], "plain_cpu_us": [30.0, 31.0]},
    )
    made.rows["gone"] = Row("gone", "Gone 1.0", tls=True, missing="no such package")
    made.rows["nginx"].problems["handshakes"] = "no handshake succeeded"
    made.growth["keys"] = [{"keys": 10, "CPU µs": 300.0}, {"keys": 100, "CPU µs": 310.0}]
    text = report.markdown(made, judge(made))
    assert "| Gone 1.0 | missing: no such package |" in text
    assert "handshakes failed: no handshake succeeded" in text
    assert "0.11 (0.1 to 0.12)" in text
    pictures.write(made, tmp_path)
    assert "Ours" in (tmp_path / "bars.svg").read_text()
    assert not (tmp_path / "latency.svg").exists()
    made.write(tmp_path / "results.json", [])
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["gateways"]["ours"]["figures"]["plain_per_second"]["each"] == [100, 120]
