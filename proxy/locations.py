"""Where an object is in S3: its address, taken apart strictly."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Any bucket that botocore would take by its name; older ones have capitals and underscores.
_ADDRESS = re.compile(r"s3://([A-Za-z0-9._-]{3,255})/([^\x00-\x1f\x7f]+)", re.ASCII)
_MAX_KEY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Location:
    """An object's bucket and key."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, address: str) -> Location:
        """Take ``s3://bucket/key`` apart. Raises ``ValueError`` for anything else."""
        match = _ADDRESS.fullmatch(address)
        if match is None or len(match[2].encode(errors="replace")) > _MAX_KEY_BYTES:
            raise ValueError("not the address of an object in S3")
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"
