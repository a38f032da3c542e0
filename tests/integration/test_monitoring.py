"""Dashboard and alerts are about metrics that there are, and alerts fire when they are to."""

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator.emulator import Emulator
from tests.integration.running import ROOT, RunningProxy
from tests.integration.scraping import PREFIX, Scrape, scrape_until
from tests.integration.test_readme import blocks, section
from tests.testhost.promtool import NoPromtool, promtool

DASHBOARD = ROOT / "roles/proxy/files/grafana-dashboard.json"
ALERTS = ROOT / "roles/proxy/files/prometheus-alerts.yml"
ALERT_TESTS = Path(__file__).with_name("alerts.yml")


@pytest.fixture(scope="module")
def tool() -> str:
    try:
        return promtool()
    except NoPromtool as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="module")
def proxy(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    """Its credentials end, as those of an instance do, and its limits are counted elsewhere."""
    directory = tmp_path_factory.mktemp("proxy")
    credentials = {
        "Version": 1,
        "AccessKeyId": emulator.environment()["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": emulator.environment()["AWS_SECRET_ACCESS_KEY"],
        "Expiration": "2099-01-01T00:00:00Z",
    }
    (directory / "credentials.json").write_text(json.dumps(credentials))
    (directory / "aws").write_text(
        f"[default]\ncredential_process = cat {directory}/credentials.json\n"
    )
    environ = {
        name: value
        for name, value in emulator.environment().items()
        if name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    }
    environ["AWS_CONFIG_FILE"] = str(directory / "aws")
    with socket.socket() as nobody:  # who does not listen
        nobody.bind(("127.0.0.1", 0))
        backend = f"valkey://127.0.0.1:{nobody.getsockname()[1]}"
        settings = f'region = "us-east-1"\n[limits]\nbackend = "{backend}"\n'
        with RunningProxy(directory, environ, settings) as proxy:
            yield proxy


@pytest.fixture(scope="module")
def found(proxy: RunningProxy) -> Scrape:
    """What is told after a call; what does not happen on every day is there all the same, as 0."""
    body = {"model": "demo-chat", "messages": [{"role": "user", "content": "Hello"}]}
    with proxy.session() as session:
        answer = session.post(f"{proxy.url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200
    return scrape_until(proxy, lambda found: found.value("catalog_age_seconds") > 0)


def queries(dashboard: dict[str, object]) -> list[str]:
    """Every query of a dashboard, those of its variables included."""
    found: list[str] = []

    def look(value: object) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                if name in ("expr", "query") and isinstance(item, str):
                    found.append(item)
                else:
                    look(item)
        elif isinstance(value, list):
            for item in value:
                look(item)

    look(dashboard)
    return found


def named(text: str) -> set[str]:
    return set(re.findall(rf"\b{PREFIX}\w+", text))


def test_every_metric_of_the_dashboard_is_told(found: Scrape) -> None:
    metrics = named("\n".join(queries(json.loads(DASHBOARD.read_text()))))
    assert len(metrics) > 15
    assert metrics - found.names() == set()


def test_every_metric_of_the_alerts_is_told(found: Scrape) -> None:
    metrics = named(ALERTS.read_text())
    assert len(metrics) > 8
    assert metrics - found.names() == set()


def test_so_are_the_labels_that_they_look_for(found: Scrape) -> None:
    told = {
        (sample, label)
        for sample in found.names()
        for labels, _ in found.samples(sample.removeprefix(PREFIX))
        for label in labels
    }
    text = ALERTS.read_text() + "\n".join(queries(json.loads(DASHBOARD.read_text())))
    wanted = {
        (metric, label)
        for metric, selector in re.findall(rf"\b({PREFIX}\w+)\{{(.*?)\}}", text)
        for label in re.findall(r"(\w+)\s*[!=]=?~?\s*\"", selector)
        if label != "instance"  # Prometheus' own
    }
    assert wanted - told == set()
    bounds = set(re.findall(r'le="(.*?)"', ALERTS.read_text()))
    assert bounds <= {labels["le"] for labels, _ in found.samples("waking_wait_seconds_bucket")}


def test_the_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def check(tool: str, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [tool, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=ALERT_TESTS.parent,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class TestPromtool:
    def test_it_finds_no_fault_with_the_metrics(self, tool: str, found: Scrape) -> None:
        assert check(tool, "check", "metrics", stdin=found.text) == ""

    def test_nor_with_the_alerts(self, tool: str) -> None:
        assert "SUCCESS" in check(tool, "check", "rules", "--lint-fatal", str(ALERTS))

    def test_each_alert_fires_when_it_is_to_and_only_then(self, tool: str) -> None:
        assert "SUCCESS" in check(tool, "test", "rules", ALERT_TESTS.name)
        alerts = re.findall(r"alert: (\w+)", ALERTS.read_text())
        tests = ALERT_TESTS.read_text()
        assert [each for each in alerts if not re.search(rf"\b{each}\b", tests)] == []

    def test_the_dashboards_queries_are_promql(self, tool: str, tmp_path: Path) -> None:
        records = [
            {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m")}
            for number, query in enumerate(queries(json.loads(DASHBOARD.read_text())))
            if not query.startswith("label_values") and query != "prometheus"
        ]
        assert len(records) >= 30
        rules = tmp_path / "rules.json"  # which is YAML, too
        rules.write_text(json.dumps({"groups": [{"name": "panels", "rules": records}]}))
        check(tool, "check", "rules", str(rules))

    def test_the_readmes_scrape_configuration_is_one(self, tool: str, tmp_path: Path) -> None:
        (text,) = blocks("yaml", section("Metrics"))
        (tmp_path / "prometheus.yml").write_text(text)
        check(tool, "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))
