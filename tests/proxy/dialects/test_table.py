"""Every dialect is in the table, and each refuses what it has not by name."""

import pytest

from proxy.dialects.base import Operation, Settings
from proxy.dialects.table import DIALECTS
from proxy.errors import InvalidRequest
from tests.proxy.dialects.asking import render


def test_the_names_are_those_of_the_configuration() -> None:
    assert list(DIALECTS) == ["openai", "lmi", "tgi", "tei", "huggingface", "raw"]


@pytest.mark.parametrize("operation", Operation)
def test_raw_tells_the_native_path(operation: Operation) -> None:
    with pytest.raises(InvalidRequest, match="/endpoints/NAME/invocations") as caught:
        render("raw", operation, {}, Settings())
    assert caught.value.param == "model"
