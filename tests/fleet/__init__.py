"""Several hosts behind a load balancer, and what becomes of clients while something happens."""
