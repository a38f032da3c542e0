"""The dialects by the name that the configuration uses."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.dialects import huggingface, lmi, openai, raw, tei, tgi
from proxy.dialects.base import Dialect

DIALECTS: Mapping[str, Dialect] = {
    "openai": openai,
    "lmi": lmi,
    "tgi": tgi,
    "tei": tei,
    "huggingface": huggingface,
    "raw": raw,
}
