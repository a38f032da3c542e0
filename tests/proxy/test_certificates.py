"""The self-signed certificate is one that clients accept when they are given it."""

import contextlib
import hashlib
import re
import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from proxy import certificates
from proxy.certificates import CertificateError, CertificatePair


def parsed(pair: CertificatePair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes())


def names_of(pair: CertificatePair) -> set[str]:
    extension = parsed(pair).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in extension.value}


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str | None:
    """The TLS version agreed on between two contexts over a real socket pair."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with ours, contextlib.suppress(ssl.SSLError, OSError):
            server.wrap_socket(ours, server_side=True).close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with theirs, client.wrap_socket(theirs, server_hostname=name) as connection:
            return connection.version()
    finally:
        thread.join()


def test_the_key_is_p_256_and_for_its_owner_alone(tmp_path: Path) -> None:
    pair = certificates.create(tmp_path / "new", ["proxy.example.com"])
    public_key = parsed(pair).public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    assert public_key.curve.name == "secp256r1"
    assert stat.S_IMODE(pair.private_key.stat().st_mode) == 0o600
    assert stat.S_IMODE(pair.private_key.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in pair.certificate.parent.iterdir()) == [
        "certificate.pem",
        "private_key.pem",
    ]


def test_it_is_for_the_names_and_days_asked_for(tmp_path: Path) -> None:
    pair = certificates.create(tmp_path, ["a.example.com", "10.1.2.3", "::1"], days=30)
    assert names_of(pair) == {"a.example.com", "10.1.2.3", "::1"}
    assert pair.expires() == parsed(pair).not_valid_after_utc.timestamp()
    left = parsed(pair).not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)
    assert parsed(pair).not_valid_after_utc - parsed(pair).not_valid_before_utc == timedelta(30)


def test_a_client_that_is_given_it_verifies_it_strictly(tmp_path: Path) -> None:
    pair = certificates.create(tmp_path, ["localhost", "127.0.0.1"])
    client = ssl.create_default_context(cafile=pair.certificate)
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    for name in ("localhost", "127.0.0.1"):
        assert handshake(pair.ssl_context(), client, name) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(pair.ssl_context(), client, "other.example.com")


@pytest.mark.parametrize(
    ("version", "accepted"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_nothing_older_than_tls_1_2_is_spoken(
    tmp_path: Path, version: ssl.TLSVersion, accepted: bool
) -> None:
    pair = certificates.create(tmp_path, ["localhost"])
    client = ssl.create_default_context(cafile=pair.certificate)
    client.set_ciphers("DEFAULT:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = version
    if accepted:
        assert handshake(pair.ssl_context(), client, "localhost") == "TLSv1.2"
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(pair.ssl_context(), client, "localhost")


def test_the_fingerprint_is_written_as_openssl_writes_it(tmp_path: Path) -> None:
    pair = certificates.create(tmp_path, ["localhost"])
    der = ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())
    digest = hashlib.sha256(der).hexdigest().upper()
    assert pair.fingerprint() == ":".join(re.findall("..", digest))


def test_it_is_made_once_and_again_when_it_has_expired(tmp_path: Path) -> None:
    first = certificates.find_or_create(tmp_path)
    fingerprint = first.fingerprint()
    assert certificates.find_or_create(tmp_path).fingerprint() == fingerprint
    assert {"localhost", "127.0.0.1", "::1", socket.gethostname()} <= names_of(first)

    certificates.create(tmp_path, ["localhost"], days=0)
    assert certificates.find_or_create(tmp_path).fingerprint() != fingerprint


def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    one = certificates.create(tmp_path / "one", ["localhost"])
    two = certificates.create(tmp_path / "two", ["localhost"])
    with pytest.raises(CertificateError, match="cannot use the certificate"):
        CertificatePair(one.certificate, two.private_key).ssl_context()
    with pytest.raises(CertificateError, match="cannot use the certificate"):
        CertificatePair(tmp_path / "absent.pem", two.private_key).ssl_context()
    one.certificate.write_text("nonsense")
    with pytest.raises(CertificateError, match="cannot read"):
        certificates.find_or_create(tmp_path / "one")
    with pytest.raises(CertificateError, match="no host name"):
        certificates.create(tmp_path, ["ü" * 70])
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="cannot write"):
        certificates.create(tmp_path / "file", ["localhost"])


def test_an_encrypted_key_is_refused_instead_of_asked_for(tmp_path: Path) -> None:
    pair = certificates.create(tmp_path, ["localhost"])
    key = serialization.load_pem_private_key(pair.private_key.read_bytes(), password=None)
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    with pytest.raises(CertificateError, match="is encrypted"):
        CertificatePair(pair.certificate, encrypted).ssl_context()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/sagemaker-proxy"}, "/var/lib/sagemaker-proxy"),
        ({"XDG_STATE_HOME": "/state"}, "/state/sagemaker-proxy"),
        ({"HOME": "/home/alice"}, "/home/alice/.local/state/sagemaker-proxy"),
    ],
)
def test_state_is_kept_where_systemd_or_the_desktop_says(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: str
) -> None:
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert certificates.state_directory() == Path(expected)
