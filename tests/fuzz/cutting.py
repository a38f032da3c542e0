"""Bytes cut into pieces, as a network would; the input itself says where."""

from __future__ import annotations


def cut(data: bytes) -> tuple[bytes, list[bytes]]:
    """All but the first byte, and the same in pieces whose size that byte tells; 0: as one."""
    size, rest = (data[0] if data else 0), data[1:]
    if not size:
        return rest, [rest]
    return rest, [rest[at : at + size] for at in range(0, len(rest), size)]
