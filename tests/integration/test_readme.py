"""What the README shows works as it is written, and its tables are complete."""

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from proxy.__main__ import command_line
from proxy.application import ROUTES
from proxy.config import Config
from proxy.exposition import Facts
from proxy.metric_families import FAMILIES, PREFIX
from tests.integration import symptoms
from tests.integration.running import ROOT, RunningProxy

README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    """What stands under a heading, up to the next of its kind."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


USE = section("Use it")


@pytest.fixture
def folder(proxy: RunningProxy, tmp_path: Path) -> Path:
    """Where a reader would be: in the repository, with the certificate at hand."""
    shutil.copy(proxy.certificate, tmp_path / "certificate.pem")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    venv = tmp_path / ".venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "python").symlink_to(sys.executable)
    return tmp_path


def run(command: list[str], proxy: RunningProxy, folder: Path) -> str:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "API_KEY": proxy.key}
    environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if "site-packages" in path)
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def here(text: str, proxy: RunningProxy) -> str:
    """The README's text with this proxy's port."""
    return text.replace("localhost:8000", f"localhost:{proxy.port}").replace(
        "localhost 8000", f"localhost {proxy.port}"
    )


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")
def test_the_curl_lines_work(proxy: RunningProxy, folder: Path) -> None:
    models, chat, csv = re.split(r"\n\n", blocks("sh", USE)[0])
    assert '"demo-chat"' in run(["bash", "-c", here(models, proxy)], proxy, folder)
    assert "data: [DONE]" in run(["bash", "-c", here(chat, proxy)], proxy, folder)
    assert "1083.5" in run(["bash", "-c", here(csv, proxy)], proxy, folder)


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")
def test_the_asynchronous_call_works(proxy: RunningProxy, folder: Path) -> None:
    (lines,) = blocks("sh", section("The HTTP interface"))
    assert run(["bash", "-c", here(lines, proxy)], proxy, folder) == "1083.5\n"


def test_the_python_programs_work(proxy: RunningProxy, folder: Path) -> None:
    openai, boto3 = blocks("python", USE)
    assert "Hello" in run([sys.executable, "-c", here(openai, proxy)], proxy, folder)
    assert "1083.5" in run([sys.executable, "-c", here(boto3, proxy)], proxy, folder)


def clients() -> dict[str, list[str]]:
    """The lines that set up each client, by its name."""
    table = section("The HTTP interface").partition("\n### Clients\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| ([^|]+) \| (`.*`) \|$", table, re.MULTILINE)
    return {name: lines.strip("`").split("`<br>`") for name, lines in rows}


def test_each_client_is_set_up_by_three_lines() -> None:
    assert {len(lines) for lines in clients().values()} == {3}
    assert len(clients()) >= 3


@pytest.mark.parametrize("name", [name for name in clients() if "SDKs" in name])
def test_the_lines_set_up_the_sdks(proxy: RunningProxy, folder: Path, name: str) -> None:
    *exports, call = clients()[name]
    sdk, client = ("anthropic", "Anthropic") if "Anthropic" in name else ("openai", "OpenAI")
    program = f"from {sdk} import {client}; print({call})"
    exports += ["export SSL_CERT_FILE=certificate.pem", f'"{sys.executable}" -c "$PROGRAM"']
    lines = "\n".join([f"PROGRAM={shlex.quote(program)}", *exports])
    assert "Hello" in run(["bash", "-c", here(lines, proxy)], proxy, folder)


def test_the_lines_of_the_agents_name_what_there_is(proxy: RunningProxy) -> None:
    known = {route for route, _, _ in ROUTES}
    (claude,) = [lines for name, lines in clients().items() if name.startswith("Claude Code")]
    assert claude[0].endswith("=https://localhost:8000")  # to which it adds /v1/messages
    assert "/v1/messages" in known
    (codex,) = [lines for name, lines in clients().items() if name.startswith("Codex")]
    settings = tomllib.loads("\n".join(codex))
    provider = settings["model_providers"][settings["model_provider"]]
    assert urlsplit(provider["base_url"]).path + "/responses" in known


@pytest.mark.parametrize("line", blocks("sh", USE)[1].splitlines())
def test_the_smoke_scripts_work(proxy: RunningProxy, folder: Path, line: str) -> None:
    assert "demo-chat" in run(["bash", "-c", here(line, proxy)], proxy, folder)


def commands_to_look_with() -> list[str]:
    """The arguments of `sagemaker-proxy` in the section on what does not work."""
    text = symptoms.SECTION
    shown = re.findall(r"(?:as-service|-m proxy|bin/sagemaker-proxy) ([^)#\n]+)", text)
    known = ("check", "models")
    quoted = re.findall(r"`([^`\n]+)`", text)
    return [*shown, *(each for each in quoted if each.partition(" ")[0] in known)]


@pytest.mark.parametrize("line", sorted({line.strip() for line in commands_to_look_with()}))
def test_each_command_to_look_with_is_one(line: str) -> None:
    assert command_line().parse_args(shlex.split(line)).run


def test_everything_that_can_be_wrong_is_reproduced() -> None:
    tests = [
        ROOT / "tests" / folder / "test_check.py" for folder in ("integration", "provisioning")
    ]
    reproduced = "".join(path.read_text() for path in tests)
    assert len(symptoms.SYMPTOMS) > 10
    assert [seen for seen in symptoms.SYMPTOMS if f'"{seen}"' not in reproduced] == []


def test_every_route_is_in_the_table() -> None:
    told = set(re.findall(r"`(?:GET|POST) (\S+)`", section("The HTTP interface")))
    assert told == {route for route, _, _ in ROUTES}


def test_every_metric_is_in_the_table_with_its_type_and_labels() -> None:
    told: dict[str, tuple[str, tuple[str, ...]]] = {}
    for line in section("Metrics").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and (name := re.fullmatch(r"`(sagemaker_proxy_\w+)`", cells[0])):
            told[name[1]] = cells[1], tuple(re.findall(r"`(\w+)`", cells[2]))
    there: dict[str, tuple[str, tuple[str, ...]]] = {}
    for family in FAMILIES:
        there[f"{PREFIX}_{family.name}"] = family.kind, family.labels
    for metric in Facts(1, 1, 1, True).collect():
        there[metric.name] = metric.type, tuple(metric.samples[0].labels)
    assert told == there


def test_every_setting_is_in_the_table_with_its_default() -> None:
    rows: dict[str, str] = {}
    for line in section("Configuration").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`([a-z_.]+)`", cells[0])
        if len(cells) == 3 and names:
            defaults = re.findall(r"`([^`]*)`", cells[1]) or [""] * len(names)
            rows.update(zip(names, defaults, strict=True))
    config = Config()
    expected = {"region": "", "keys_file": '""'}
    for name in ("server", "upstream", "catalog", "limits", "async_inference", "traces"):
        for item in dataclasses.fields(getattr(config, name)):
            value = getattr(getattr(config, name), item.name)
            value = list(value) if isinstance(value, tuple) else value
            value = f'"{value}"' if isinstance(value, str) else value
            shown = {"True": "true", "['*']": '["*"]'}.get(str(value), str(value))
            expected[f"{name}.{item.name}"] = shown
    assert rows == expected


def test_every_test_that_the_security_section_names_is_there() -> None:
    rows = [line for line in section("Security").splitlines() if line.startswith("|")]
    threats = rows[2 : next(n for n, row in enumerate(rows) if row.startswith("| what |"))]
    assert len(threats) > 10
    for row in threats:
        assert re.findall(r"`(tests/[^`]+)`", row), f"no test shows it: {row}"
    for name in re.findall(r"`(tests/[^`]+\.py[^`]*)`", section("Security")):
        path, *parts = name.split("::")
        source = (ROOT / path).read_text()
        for part in parts:
            assert re.search(rf"^ *(?:async )?(?:def|class) {part}\b", source, re.MULTILINE), name


def test_every_dependency_is_in_the_table() -> None:
    named: dict[str, list[str]] = {}
    for row in section("Security").partition("### Dependencies")[2].splitlines():
        if row.startswith("| `"):
            first, _, brought = (cell.strip() for cell in row.strip("|").split("|"))
            named[first.strip("`")] = re.findall(r"`([^`]+)`", brought)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[^a-z0-9-]", each)[0] for each in project["dependencies"]}
    assert named.keys() == wanted
    locked = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert sorted([*named, *chain(*named.values())]) == sorted(locked)
