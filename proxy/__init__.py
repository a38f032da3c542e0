"""SageMaker Proxy: one HTTPS URL and one API key in front of Amazon SageMaker endpoints."""

__version__ = "0.1.0"
