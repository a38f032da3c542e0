"""An object's address in S3 is s3://bucket/key, and nothing that only looks like it."""

import pytest

from proxy.locations import Location


@pytest.mark.parametrize(
    ("address", "bucket", "key"),
    [
        ("s3://bucket/a", "bucket", "a"),
        ("s3://my.bucket-1/out/a b/é?#%41.out", "my.bucket-1", "out/a b/é?#%41.out"),
        ("s3://Old_Bucket//../x", "Old_Bucket", "/../x"),
        ("s3://bucket/" + "k" * 1024, "bucket", "k" * 1024),
    ],
)
def test_it_is_taken_apart_as_it_is_written(address: str, bucket: str, key: str) -> None:
    location = Location.parse(address)
    assert location == Location(bucket, key)
    assert str(location) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "bucket/key",
        "https://bucket/key",
        "S3://bucket/key",
        "s3://bucket",
        "s3://bucket/",
        "s3:///key",
        "s3://a/key",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/key",
        "s3://bucket@elsewhere/key",
        "s3://bucket/a\nb",
        "s3://bucket/a\n",
        "s3://bucket/" + "é" * 513,
    ],
)
def test_anything_else_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="not the address of an object"):
        Location.parse(address)
