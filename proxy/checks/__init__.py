"""``sagemaker-proxy check``: what keeps the proxy from working, looked at piece by piece."""
