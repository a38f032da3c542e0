"""A machine for tests to provision: systemd in a container, dressed as Amazon Linux 2023."""
