"""The demo: the embedded SageMaker, the proxy in front of it, and lines to paste."""
