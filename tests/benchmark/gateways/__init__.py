"""What is measured: each gateway with its installation, its start, and its requests."""
