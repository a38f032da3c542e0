"""The playbooks and roles, played on real systemd hosts."""
