"""The certificate: load it for TLS 1.2 and 1.3, or make a self-signed one."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets
import socket
import ssl
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DEFAULT_DAYS = 825  # the longest that Apple's clients accept from a private CA

# Forward secrecy and authenticated encryption only; TLS 1.3 has no other suites.
_TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class CertificateError(ValueError):
    """A certificate and key that cannot be used, or a place that cannot be written."""


@dataclass(frozen=True, slots=True)
class CertificatePair:
    """Where a certificate (PEM, with its chain) and its private key are."""

    certificate: Path
    private_key: Path

    def fingerprint(self) -> str:
        """The SHA-256 fingerprint, as ``openssl x509 -fingerprint -sha256`` prints it."""
        first = x509.load_pem_x509_certificates(self.certificate.read_bytes())[0]
        digest = hashlib.sha256(first.public_bytes(serialization.Encoding.DER))
        return digest.digest().hex(":").upper()

    def expires(self) -> float:
        """When the certificate ends, in seconds since the epoch."""
        first = x509.load_pem_x509_certificates(self.certificate.read_bytes())[0]
        return first.not_valid_after_utc.timestamp()

    def ssl_context(self) -> ssl.SSLContext:
        """A server context with this pair. Raises ``CertificateError``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_TLS12_CIPHERS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.certificate, self.private_key, password=_no_password)
        except (OSError, ssl.SSLError) as exc:
            raise CertificateError(
                f"cannot use the certificate {self.certificate} with the key {self.private_key}: "
                f"{exc.strerror or exc}"
            ) from exc
        return context


def _no_password() -> str:
    """Stands in for OpenSSL's prompt, which would wait for a terminal."""
    raise CertificateError("the private key is encrypted; give one without a passphrase")


def state_directory() -> Path:
    """Where the server keeps what it makes itself: systemd's place, else the user's."""
    if directory := os.environ.get("STATE_DIRECTORY"):
        return Path(directory.split(":")[0])
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "sagemaker-proxy"


def find_or_create(directory: Path) -> CertificatePair:
    """The self-signed pair in ``directory``, made now if it is not there or has expired."""
    pair = CertificatePair(directory / "certificate.pem", directory / "private_key.pem")
    if pair.private_key.exists() and pair.certificate.exists():
        try:
            certificates = x509.load_pem_x509_certificates(pair.certificate.read_bytes())
        except (OSError, ValueError) as exc:
            raise CertificateError(f"cannot read {pair.certificate}: {exc}") from exc
        if certificates[0].not_valid_after_utc > datetime.now(UTC):
            return pair
    return create(directory, local_names())


def create(directory: Path, names: Iterable[str], days: int = DEFAULT_DAYS) -> CertificatePair:
    """Write a self-signed pair (ECDSA P-256) for ``names`` to ``directory``.

    Names may be host names or addresses. The key is readable by its owner alone from its first
    byte. Raises ``CertificateError`` when the files cannot be written.
    """
    private_key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sagemaker-proxy")])
    begin = datetime.now(UTC) - timedelta(hours=1)  # for clients whose clock is behind
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(private_key.public_key()), critical=False
        )
        .sign(private_key, hashes.SHA256())
    )
    key_pem = private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pair = CertificatePair(directory / "certificate.pem", directory / "private_key.pem")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(pair.private_key, key_pem, 0o600)
        _write(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    except OSError as exc:
        raise CertificateError(f"cannot write to {directory}: {exc.strerror}") from exc
    return pair


def local_names() -> list[str]:
    """Names and addresses under which this host reaches itself."""
    host = socket.gethostname()
    names = ["localhost", "127.0.0.1", "::1", host, _full_name(host)]
    return list(dict.fromkeys(name for name in names if name))


def _full_name(host: str) -> str:
    """The host's full name; empty when the resolver does not answer within a second."""
    executor = ThreadPoolExecutor(max_workers=1)
    try:
        return executor.submit(socket.getfqdn, host).result(timeout=1)
    except FutureTimeoutError:
        return ""
    finally:
        executor.shutdown(wait=False)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name.encode("idna").decode() if not name.isascii() else name)
    except (UnicodeError, ValueError) as exc:
        raise CertificateError(f"{name!r} is no host name or address") from exc


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Put ``content`` in place at once, with its final mode from the start."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
