"""Errors are shown as OpenAI's, in the container's words where it has refused."""

import pytest

from proxy.errors import ContainerAnswer, ContainerError, Refusal


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"error": {"message": "too long", "type": "BadRequestError", "code": 400}}', "too long"),
        ('{"error": "too long", "error_type": "validation"}', "too long"),
        ('{"code": 400, "type": "BadRequestException", "message": "too long"}', "too long"),
        ("too long", "too long"),
        ('{"detail": ["too long"]}', '{"detail": ["too long"]}'),
        ('["too long"]', '["too long"]'),
        ("", "the model refused the request"),
    ],
)
def test_a_containers_message_is_taken_out_of_its_json(body: str, message: str) -> None:
    error = ContainerError(ContainerAnswer(400, body), refusal=Refusal(424, "ModelError", b""))
    assert error.to_openai() == {
        "error": {
            "message": message,
            "type": "invalid_request_error",
            "code": "model_error",
            "param": None,
        }
    }
