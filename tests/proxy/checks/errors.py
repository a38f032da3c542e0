"""Errors as boto3 raises them."""

from typing import Any

from botocore.exceptions import ClientError

DENIED = (
    "User: arn:aws:sts::123456789012:assumed-role/proxy/i-0 is not authorized to perform: "
    "sagemaker:DescribeModel on resource: arn:aws:sagemaker:us-east-1:123456789012:model/llama "
    "because no identity-based policy allows the sagemaker:DescribeModel action"
)


def client_error(
    code: str, message: str = "", status: int = 400, operation: str = "DescribeModel", **more: Any
) -> ClientError:
    answer: dict[str, Any] = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **more,
    }
    return ClientError(answer, operation)
