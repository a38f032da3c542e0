"""Where a benchmark runs: its folders, cores, certificate, key and upstream."""

import os
import resource
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.benchmark import build
from tests.benchmark.control_plane import ControlPlane
from tests.benchmark.programs import Failed, Program, Programs

ROOT = Path(__file__).parents[2]
BENCH = ROOT / ".bench"

REGION = "us-east-1"
AWS_KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIABENCHMARKEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "benchmark/secret/K7MDENG/bPxRfiCYEXAMPLE",
}

# What the upstream answers is in an endpoint's name: see upstream.c.
PLAIN = "answer-600"
FAST = "stream-0-100"
PACED = "stream-10-100"
SLOW = "stream-500-100"
ENDPOINTS = (PLAIN, FAST, PACED, SLOW)

_START_SECONDS = 5.0


@dataclass(frozen=True)
class Site:
    """What every gateway is given."""

    programs: Programs
    gateway_cores: tuple[int, ...]
    load_cores: tuple[int, ...]
    upstream: Program
    upstream_url: str
    control_url: str
    certificate: Path
    private_key: Path
    key: str
    load: Path  # the load generator
    run: Path  # the folder for what a run writes and nobody keeps

    def environment(self) -> dict[str, str]:
        """What any AWS client needs, and nothing of this machine's own settings."""
        return clean_environment() | {
            **AWS_KEYS,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_SAGEMAKER": self.control_url,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": self.upstream_url,
        }


def clean_environment() -> dict[str, str]:
    """The variables of ours that any program needs."""
    return {"PATH": os.environ["PATH"], "HOME": str(BENCH), "LC_ALL": "C.UTF-8"}


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def prepare(programs: Programs, control_plane: ControlPlane, run: Path = BENCH / "run") -> Site:
    """Compile, make a certificate, start the upstream. Raises `Failed`.

    The gateways get the last core; this process and all that it starts otherwise, the others.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Failed("two cores are needed: one for the gateway, one for what calls it")
    os.sched_setaffinity(0, cores[:-1])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    build.provide_compiler()
    compiled = build.compile_programs(BENCH / "bin")
    run.mkdir(parents=True, exist_ok=True)
    upstream, url = start_upstream(programs, compiled["upstream"], cores[:-1], run)
    certificate, private_key = make_certificate(run / "tls")
    return Site(
        programs=programs,
        gateway_cores=tuple(cores[-1:]),
        load_cores=tuple(cores[:-1]),
        upstream=upstream,
        upstream_url=url,
        control_url=control_plane.url,
        certificate=certificate,
        private_key=private_key,
        key=str(uuid.uuid4()),
        load=compiled["load"],
        run=run,
    )


def start_upstream(
    programs: Programs, program: Path, cores: list[int], run: Path
) -> tuple[Program, str]:
    """Start the upstream, and return it with its URL."""
    port = free_port()
    started = programs.start(
        "upstream", [str(program), str(port)], cores=cores, log=run / "upstream.log"
    )
    wait_for_port(started, port)
    return started, f"http://127.0.0.1:{port}"


def wait_for_port(program: Program, port: int) -> None:
    """Wait until a program listens. Raises `Failed`."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        program.check()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Failed(f"{program.name} does not listen: {program.end_of_log()}")


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Make a self-signed pair, P-256 as the proxy's own, that every gateway serves."""
    directory.mkdir(parents=True, exist_ok=True)
    certificate, private_key = directory / "certificate.pem", directory / "private_key.pem"
    for path in (certificate, private_key):
        path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "proxy", "new-certificate"]
    command += ["--host", "localhost", "--out", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"no certificate could be made: {done.stderr.strip()}")
    return certificate, private_key
