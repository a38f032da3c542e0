"""Values that look like secrets are masked in the predecessor's listing."""

import pytest

from proxy.handlers.classic import mask_secrets


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "API_KEY", "AWS_SECRET_ACCESS_KEY", "hfToken"),
        *("DB_PASSWORD", "PASSWD", "apiKey", "SECRET_VALUE", "ACCESS_TOKENS", "KEYS", "PWD_X"),
        *("OPENAI_APIKEY", "CREDENTIALS", "X_AUTH"),
    ],
)
def test_secrets_are_masked(name: str) -> None:
    assert mask_secrets({name: "hunter2"}) == {name: "********"}


def test_a_password_of_digits_is_a_secret_all_the_same() -> None:
    assert mask_secrets({"PASSWORD": "12345"}) == {"PASSWORD": "********"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_TOTAL_TOKENS", "4096"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("HF_MODEL_ID", "meta-llama/Llama-3.1-8B"),
        ("SAGEMAKER_PROGRAM", "inference.py"),
        ("KEYBOARD", "qwerty"),
        ("AUTHOR", "alice"),
        ("HF_TOKEN", ""),
    ],
)
def test_the_rest_is_shown(name: str, value: str) -> None:
    assert mask_secrets({name: value}) == {name: value}
