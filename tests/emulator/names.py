"""How AWS names things: the account, ARNs and log addresses that answers mention."""

ACCOUNT = "123456789012"
VARIANT = "AllTraffic"
CALLER = f"arn:aws:sts::{ACCOUNT}:assumed-role/sagemaker-proxy/i-0123456789abcdef0"


def endpoint_arn(endpoint: str, region: str) -> str:
    """Return an endpoint's ARN, which AWS writes in lower case."""
    return f"arn:aws:sagemaker:{region}:{ACCOUNT}:endpoint/{endpoint.lower()}"


def log_group(endpoint: str) -> str:
    """Return the log group an endpoint's containers write to."""
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def log_stream_arn(endpoint: str, region: str) -> str:
    """Return the ARN that a ModelError points at."""
    return f"arn:aws:logs:{region}:{ACCOUNT}:log-group:{log_group(endpoint)}"


def log_hint(endpoint: str, region: str) -> str:
    """Return the sentence that ends every ModelError's message."""
    return (
        f"See https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
        f"#logEventViewer:group={log_group(endpoint)} in account {ACCOUNT} for more information."
    )
