"""What another API costs beside a chat: the same streams through each, one after the other."""

from __future__ import annotations

import json

from tests.benchmark import http, special
from tests.benchmark.gateways.ours import Ours
from tests.benchmark.measures import STREAMS, Bench, Figures
from tests.benchmark.programs import Failed
from tests.benchmark.results import Results
from tests.benchmark.rounds import Plan
from tests.benchmark.site import PACED, Site

_ASKED = {"model": PACED, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}

# By the name of its figure, the path and the body that ask for a stream of the same chunks.
APIS = {
    "chat": ("/v1/chat/completions", _ASKED),
    "responses": ("/v1/responses", {"model": PACED, "stream": True, "input": "Hello"}),
    "messages": ("/v1/messages", {**_ASKED, "max_tokens": 1000}),
}

_TURNS = 3

# Of each stream. They are not counted as they arrive: some APIs tell the whole text once more.
_CHUNKS = int(PACED.rpartition("-")[2])


def measure_apis(site: Site, plan: Plan, results: Results) -> None:
    """Start ours once more and measure all of them in it."""
    special.with_variant(site, Ours(label="ours-apis"), plan, results, "APIs", chunks)


def chunks(bench: Bench) -> Figures:
    """The CPU time of one chunk, 10 ms apart, by API. They take turns."""
    headers = {"Authorization": f"Bearer {bench.site.key}"}
    used = dict.fromkeys(APIS, 0.0)
    seen = dict.fromkeys(APIS, 0)
    for _ in range(_TURNS):
        for name, (path, body) in APIS.items():
            done = bench.load(
                PACED,
                *["--spread", "1", "--wait-open"],
                seconds=bench.seconds.streams,
                connections=STREAMS,
                requests=[http.request(path, json.dumps(body).encode(), headers)],
            )
            if done.errors or not done.streams:
                raise Failed(f"{path}: {done.errors} errors, {done.streams} streams")
            used[name] += done.gateway_cpu
            seen[name] += done.streams * _CHUNKS
    return {f"{name}_chunk_cpu_us": used[name] / seen[name] * 1e6 for name in APIS}
