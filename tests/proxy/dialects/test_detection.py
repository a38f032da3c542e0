"""Images tell the dialect where there is no doubt."""

import pytest

from proxy.dialects.detection import detect

AWS = "763104351884.dkr.ecr.us-west-2.amazonaws.com"


@pytest.mark.parametrize(
    ("image", "environment", "dialect"),
    [
        (f"{AWS}/djl-inference:0.33.0-lmi15.0.0-cu128", {}, "lmi"),
        (f"{AWS}/djl-inference:0.29.0-tensorrtllm0.11.0-cu124", {}, "lmi"),
        (f"{AWS}/djl-inference:0.33.0-lmi15.0.0-cu128", {"OPTION_TASK": "text-embedding"}, None),
        (f"{AWS}/djl-inference:0.33.0-cpu-full", {}, None),
        (f"{AWS}/huggingface-pytorch-tgi-inference:2.3.0-tgi2.2.0-gpu-py310", {}, "tgi"),
        (f"{AWS}/huggingface-pytorch-tgi-inference:2.7.0-tgi3.3.6-gpu-py311", {}, "openai"),
        (
            f"{AWS}/huggingface-pytorch-tgi-inference:2.1.1-tgi1.4.2-gpu-py310",
            {"MESSAGES_API_ENABLED": "true"},
            "openai",
        ),
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/tei:2.0.1-tei1.8.2-gpu", {}, "tei"),
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/tei-cpu:2.0.1-tei1.8.2-cpu", {}, "tei"),
        (f"{AWS}/huggingface-pytorch-inference:2.1.0-transformers4.37.0-gpu", {}, "huggingface"),
        (
            f"{AWS}/huggingface-pytorch-inference:2.1.0-transformers4.37.0-gpu",
            {"SAGEMAKER_PROGRAM": "inference.py"},
            None,
        ),
        (f"{AWS}/vllm:0.20.2-gpu-py312-cu130-ubuntu22.04-sagemaker", {}, "openai"),
        (f"{AWS}/huggingface-vllm:0.11-gpu", {}, "openai"),
        (f"{AWS}/sglang:0.5.10-gpu-sagemaker", {}, "openai"),
        ("vllm/vllm-openai:latest", {}, "openai"),
        (f"{AWS}/vllm@sha256:0123", {}, "openai"),
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1", {}, "raw"),
        (f"{AWS}/pytorch-inference:2.6.0-gpu-py312-sagemaker", {}, None),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/my-model:latest", {}, None),
        ("registry:5000/vllm", {}, "openai"),
        ("", {}, None),
        (None, {}, None),
    ],
)
def test_an_image_tells_its_dialect(
    image: str | None, environment: dict[str, str], dialect: str | None
) -> None:
    assert detect(image, environment) == dialect
