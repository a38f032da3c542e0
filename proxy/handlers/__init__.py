"""The routes: HTTP in, HTTP out, one module a group. Handlers import nothing from one another."""
