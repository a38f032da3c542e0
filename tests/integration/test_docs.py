"""What ``/docs`` is made of: Swagger UI as it was released, and what starts it."""

import hashlib

from proxy.handlers.docs import PAGE


def test_it_keeps_no_key_and_asks_nobody_else() -> None:
    script = (PAGE.folder / "docs.js").read_text()
    assert "persistAuthorization: false" in script
    assert "validatorUrl: null" in script


def test_swagger_ui_is_unmodified() -> None:
    sums = {}
    for line in (PAGE.folder / "SHA256SUMS").read_text().splitlines():
        expected, name = line.split()
        sums[name] = expected
    assert set(sums) == PAGE.files.keys() - {"docs.js"}
    for name, expected in sums.items():
        assert hashlib.sha256((PAGE.folder / name).read_bytes()).hexdigest() == expected
