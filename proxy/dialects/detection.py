"""Tells a container's dialect by its image and environment, where these leave no doubt.

Source: AWS's list of Deep Learning Containers images and of the built-in algorithms' registries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# The last part of a repository's name, whoever's registry it is in.
_OPENAI = re.compile(r"(?:huggingface-)?(?:vllm|sglang)(?:-openai|-arm64|-neuronx?)?")
_TGI = re.compile(r"huggingface-pytorch-tgi-inference|text-generation-inference")
_TEI = re.compile(r"tei(?:-cpu)?|text-embeddings-inference")
_HUGGING_FACE = re.compile(r"huggingface-(?:pytorch|tensorflow)-inference(?:-neuronx?)?")
_DJL = "djl-inference"
_RAW = frozenset(
    {
        "blazingtext",
        "factorization-machines",
        "forecasting-deepar",
        "image-classification",
        "image-classification-neo",
        "ipinsights",
        "kmeans",
        "knn",
        "lda",
        "linear-learner",
        "ntm",
        "object-detection",
        "object2vec",
        "pca",
        "randomcutforest",
        "sagemaker-scikit-learn",
        "sagemaker-sparkml-serving",
        "sagemaker-xgboost",
        "semantic-segmentation",
        "seq2seq",
        "tensorflow-inference",
        "xgboost",
    }
)

_LMI_TAG = re.compile(r"-(?:lmi\d|tensorrtllm\d)")
_TGI_TAG = re.compile(r"tgi(\d+)\.")

# From this one on, TGI tells OpenAI's bodies from its own on /invocations.
_TGI_OPENAI = 3


def detect(image: str | None, environment: Mapping[str, str]) -> str | None:
    """The name of the dialect; None where it can't be told surely."""
    if not image:
        return None
    repository, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    if repository in _RAW:
        return "raw"
    if _OPENAI.fullmatch(repository):
        return "openai"
    if _TEI.fullmatch(repository):
        return "tei"
    if _TGI.fullmatch(repository):
        return _tgi(tag, environment)
    if _HUGGING_FACE.fullmatch(repository):
        # With a script of its own, the container may take and answer anything.
        return None if environment.get("SAGEMAKER_PROGRAM") else "huggingface"
    if repository == _DJL and _LMI_TAG.search(tag) and not _embeds(environment):
        return "lmi"
    return None


def _tgi(tag: str, environment: Mapping[str, str]) -> str:
    if environment.get("MESSAGES_API_ENABLED", "").lower() in ("true", "1"):
        return "openai"
    version = _TGI_TAG.search(tag)
    return "openai" if version and int(version[1]) >= _TGI_OPENAI else "tgi"


def _embeds(environment: Mapping[str, str]) -> bool:
    return "text-embedding" in (environment.get("OPTION_TASK"), environment.get("HF_TASK"))
