"""LiteLLM's proxy, calling SageMaker. Its prices are given, so that it need not look for them."""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.benchmark import environments
from tests.benchmark.gateways.gateway import (
    Running,
    is_stream,
    openai_request,
    served,
)
from tests.benchmark.site import ENDPOINTS, PLAIN, REGION, Site, free_port

# Newer ones need a package that the index does not have.
_VERSION = "1.108.7"


@dataclass(frozen=True)
class LiteLLM:
    """One worker, with a master key."""

    name: str = "litellm"
    title: str = f"LiteLLM proxy {_VERSION}"
    tls: bool = True
    streams: bool = True

    def install(self) -> None:
        _interpreter()

    def start(self, site: Site) -> Running:
        directory = site.run / self.name
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        config = directory / "config.yaml"
        models = [_model(site, endpoint) for endpoint in ENDPOINTS]
        settings = {"telemetry": False, "num_retries": 0, "request_timeout": 120}
        config.write_text(  # JSON is YAML
            json.dumps(
                {
                    "model_list": models,
                    "litellm_settings": settings,
                    "general_settings": {"master_key": f"sk-{site.key}"},
                }
            )
        )
        program = site.programs.start(
            self.name,
            [
                *[str(_interpreter().with_name("litellm")), "--config", str(config)],
                *["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"],
                *["--ssl_certfile_path", str(site.certificate)],
                *["--ssl_keyfile_path", str(site.private_key)],
            ],
            cores=site.gateway_cores,
            log=directory / "output.log",
            environment=site.environment()
            | {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        )
        return served(self, site, Running(program, port), PLAIN, seconds=120.0)

    def request(self, site: Site, endpoint: str) -> bytes:
        return openai_request(site, "/v1/chat/completions", endpoint, endpoint, f"sk-{site.key}")


def _interpreter() -> Path:
    return environments.python("litellm", [f"litellm[proxy]=={_VERSION}"])


def _model(site: Site, endpoint: str) -> dict[str, object]:
    operation = "invocations-response-stream" if is_stream(endpoint) else "invocations"
    return {
        "model_name": endpoint,
        "litellm_params": {
            "model": f"sagemaker_chat/{endpoint}",
            # The whole URL, so a model can be called in one way only.
            "sagemaker_base_url": f"{site.upstream_url}/endpoints/{endpoint}/{operation}",
            "aws_region_name": REGION,
            "input_cost_per_token": 1e-6,
            "output_cost_per_token": 1e-6,
        },
    }
