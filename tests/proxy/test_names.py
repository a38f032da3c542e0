"""A name is one that SageMaker could have."""

import pytest

from proxy.names import is_deployment_name, is_endpoint_name


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        *(("a", True), ("my-endpoint-7", True), ("A" * 63, True)),
        *(("", False), ("A" * 64, False), ("-a", False), ("a-", False), ("a/b", False)),
        *(("a b", False), ("é", False), ("a\n", False), ("..", False), ("a_b", False)),
    ],
)
def test_names_are_those_that_sagemaker_accepts(name: str, valid: bool) -> None:
    assert is_endpoint_name(name) is valid


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        *(("a", True), ("endpoint/component", True)),
        *(("a/b/c", False), ("/b", False), ("a/", False), ("a/../b", False), ("", False)),
    ],
)
def test_a_deployment_is_an_endpoint_or_a_component_of_one(name: str, valid: bool) -> None:
    assert is_deployment_name(name) is valid
