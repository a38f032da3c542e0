"""Files are where they belong, and imports inside the package go down its layers only."""

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "proxy"

# Beside what tools demand there.
TOP_LEVEL = {
    "README.md",
    "ansible.cfg",
    "cloudformation",
    "inventory.ini",
    "playbooks",
    "proxy",
    "roles",
    "tests",
}

# From the bottom up. A module imports from lower rows alone.
LAYERS = (
    ("proxy",),
    (
        "proxy.errors",
        "proxy.locations",
        "proxy.names",
        "proxy.signing",
        "proxy.eventstream",
        "proxy.http_chunks",
        "proxy.openapi",
        "proxy.sse",
        "proxy.tables",
        "proxy.traceparent",
        "proxy.columns",
        "proxy.metric_families",
        "proxy.moments",
        "proxy.pacing",
        "proxy.usage",
        "proxy.pipes",
        "proxy.reserving",
    ),
    ("proxy.http_request", "proxy.http_response"),
    (
        "proxy.keys",
        "proxy.log",
        "proxy.certificates",
        "proxy.forms",
        "proxy.windows",
        "proxy.gate",
        "proxy.guesses",
        "proxy.metric_files",
        "proxy.patience",
        "proxy.sealing",
    ),
    ("proxy.labels",),
    (
        "proxy.key_file",
        "proxy.counts",
        "proxy.figures",
        "proxy.metrics",
        "proxy.otlp",
        "proxy.valkey_client",
    ),
    ("proxy.traces", "proxy.valkey_counts"),
    ("proxy.credentials", "proxy.refusals", "proxy.waking", "proxy.dialects"),
    (
        "proxy.dialects.base",
        "proxy.dialects.bodies",
        "proxy.dialects.detection",
        "proxy.dialects.failures",
        "proxy.dialects.stops",
        "proxy.dialects.chat_templates",
    ),
    (
        "proxy.dialects.chunks",
        "proxy.dialects.fields",
        "proxy.dialects.lines",
        "proxy.dialects.rewriting",
        "proxy.dialects.shapes",
    ),
    ("proxy.dialects.reranking", "proxy.dialects.stream_options"),
    (
        "proxy.dialects.assemble",
        "proxy.dialects.openai",
        "proxy.dialects.raw",
        "proxy.dialects.text",
    ),
    ("proxy.dialects.generation", "proxy.dialects.vectors"),
    (
        "proxy.dialects.huggingface",
        "proxy.dialects.lmi",
        "proxy.dialects.tei",
        "proxy.dialects.tgi",
    ),
    ("proxy.dialects.table", "proxy.dialects.transcription", "proxy.apis"),
    ("proxy.apis.base", "proxy.apis.chat", "proxy.apis.requests"),
    (
        "proxy.apis.messages_errors",
        "proxy.apis.messages_schema",
        "proxy.apis.responses_item_schema",
        "proxy.apis.responses_schema",
    ),
    ("proxy.apis.rendering", "proxy.apis.responses_tools"),
    (
        "proxy.apis.messages_answer",
        "proxy.apis.messages_request",
        "proxy.apis.responses_answer",
        "proxy.apis.responses_messages",
    ),
    ("proxy.apis.responses_items", "proxy.apis.responses_request"),
    ("proxy.apis.messages_stream", "proxy.apis.responses_stream"),
    ("proxy.apis.messages", "proxy.apis.responses"),
    ("proxy.constraints",),
    ("proxy.config",),
    ("proxy.connection", "proxy.dialing", "proxy.server_connection"),
    ("proxy.connection_pool",),
    (
        "proxy.answer",
        "proxy.control_plane",
        "proxy.exposition",
        "proxy.limits",
        "proxy.objects",
    ),
    ("proxy.sagemaker",),
    ("proxy.catalog",),
    ("proxy.models",),
    ("proxy.model_table",),
    ("proxy.handlers", "proxy.handlers.exchange", "proxy.handlers.services"),
    ("proxy.handlers.admission",),
    ("proxy.handlers.lifecycle",),
    ("proxy.handlers.base",),
    ("proxy.handlers.files", "proxy.handlers.relay"),
    ("proxy.handlers.native", "proxy.handlers.operation", "proxy.handlers.pages"),
    ("proxy.handlers.translated",),
    (
        "proxy.handlers.asynchronous",
        "proxy.handlers.chat",
        "proxy.handlers.classic",
        "proxy.handlers.completions",
        "proxy.handlers.console",
        "proxy.handlers.docs",
        "proxy.handlers.embeddings",
        "proxy.handlers.figures",
        "proxy.handlers.health",
        "proxy.handlers.messages",
        "proxy.handlers.invocations",
        "proxy.handlers.metrics",
        "proxy.handlers.models",
        "proxy.handlers.openapi",
        "proxy.handlers.rerank",
        "proxy.handlers.transcriptions",
        "proxy.handlers.responses",
    ),
    ("proxy.accepting",),
    (
        "proxy.application",
        "proxy.assembly",
        "proxy.control",
        "proxy.expiry",
        "proxy.environment",
        "proxy.http_server",
        "proxy.journal",
        "proxy.leaving",
        "proxy.progress",
        "proxy.sampling",
        "proxy.sockets",
        "proxy.startup",
        "proxy.systemd",
        "proxy.worker_process",
    ),
    ("proxy.server", "proxy.usage_report", "proxy.workers", "proxy.checks"),
    ("proxy.checks.finding", "proxy.checks.listening"),
    ("proxy.checks.backend", "proxy.checks.bounded", "proxy.checks.files", "proxy.checks.refused"),
    ("proxy.checks.service",),
    ("proxy.checks.account", "proxy.checks.report"),
    ("proxy.checks.permissions",),
    ("proxy.checks.deployments",),
    ("proxy.checks.invocation",),
    ("proxy.checks.plan",),
    ("proxy.supervisor",),
    ("proxy.serving",),
    ("proxy.__main__",),
)
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}

# These speak neither HTTP nor AWS: no Tornado, no client, no SDK.
PURE = (
    *LAYERS[1],
    *LAYERS[2],
    *(module for module in LEVEL if module.startswith(("proxy.apis", "proxy.dialects"))),
)
FORBIDDEN_IN_PURE = {"tornado", "boto3", "botocore", "uvloop", "asyncio"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file it does so."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(name if name in MODULES else str(node.module) for name in names)
    return found


@pytest.mark.skipif(
    not ((ROOT / ".git").exists() and shutil.which("git")), reason="this is no clone"
)
def test_the_top_level_has_what_belongs_there_and_no_more() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    top = {name.partition("/")[0] for name in listed.stdout.split("\0") if name}
    demanded = {name for name in top if name.startswith((".", "requirements"))}
    assert top - demanded - {"Makefile", "pyproject.toml", "LICENSE"} == TOP_LEVEL


def test_every_module_has_its_layer() -> None:
    assert set(MODULES) == set(LEVEL)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    for imported in imports(MODULES[module]):
        if imported in LEVEL:
            assert LEVEL[imported] < LEVEL[module], f"{module} imports {imported}"


@pytest.mark.parametrize("module", PURE)
def test_the_bottom_layer_is_pure(module: str) -> None:
    top_level = {imported.partition(".")[0] for imported in imports(MODULES[module])}
    assert not top_level & FORBIDDEN_IN_PURE


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_does_in_its_first_line(module: str) -> None:
    docstring = ast.get_docstring(ast.parse(MODULES[module].read_text()))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))
