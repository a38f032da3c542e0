"""Model containers: web applications with GET /ping and POST /invocations."""
