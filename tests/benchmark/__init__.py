"""Ours beside other gateways: the same work, the same core, one after another."""
