"""The soak: a long life with mixed traffic, faults and reloads, and what was promised in it."""
