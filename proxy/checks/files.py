"""What the proxy reads and writes on this host: settings, keys, certificate, space on the disk."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from proxy import certificates, control, key_file, startup
from proxy.certificates import CertificateError, CertificatePair
from proxy.checks.finding import Finding, failed, ok, warning
from proxy.config import Config
from proxy.key_file import KeyFileError
from proxy.keys import DEFAULT_NAME, Caller, Key
from proxy.startup import StartFailed

_MEBIBYTE = 1024 * 1024
_SCARCE_BYTES = 100 * _MEBIBYTE
_NO_BYTES = _MEBIBYTE
_NO_FILES = 16  # that can still be made
_SCARCE_FILES = 1000

# As the alert has it: whoever renews certificates does so well ahead of that.
_ENDING = timedelta(days=14)

_KEYS_TO_DO = (
    "correct them; they are root's and the service's group may read them (mode 0640); "
    "make a key with: sagemaker-proxy new-key"
)

_JOURNALS = (Path("/var/log/journal"), Path("/run/log/journal"))


def check_keys(config: Config) -> list[Finding]:
    """The keys can be loaded, they are not for everybody to read, and their time is not over."""
    try:
        startup.load_keys(config)
    except StartFailed as exc:
        return [failed(problem, _KEYS_TO_DO) for problem in str(exc).splitlines()]
    keys: list[Key] = []
    findings: list[Finding] = []
    if config.keys_file:
        path = Path(config.keys_file)
        try:
            keys += key_file.read(path).values()
        except KeyFileError as exc:  # it has changed since
            return [failed(str(exc), "run this check again")]
        findings += judge_mode(path, path.stat().st_mode)
    if config.api_key:
        keys.append(Key(Caller(DEFAULT_NAME)))
    return [judge_keys(keys, time.time()), *findings]


def judge_keys(keys: Iterable[Key], now: float) -> Finding:
    """Whose keys are good, and whose time is over; ``now`` in seconds since the epoch."""
    keys = [*keys]
    good = {key.caller.name for key in keys if key.expires is None or key.expires > now}
    over = {key.caller.name for key in keys} - good
    found = f"good keys: {', '.join(sorted(good)) or 'none'}"
    if not over:
        return ok(found)
    found += f"; expired, and so rejected: {', '.join(sorted(over))}"
    to_do = (
        "change expires in keys.toml, or take the key out; then: systemctl reload sagemaker-proxy"
    )
    return warning(found, to_do) if good else failed(found, to_do)


def judge_mode(path: Path, mode: int) -> list[Finding]:
    """Nothing to find, unless everybody can read what is for the service alone."""
    if not mode & stat.S_IROTH:
        return []
    return [warning(f"{path} can be read by everybody", f"chmod o= {path}")]


def check_certificate(config: Config) -> list[Finding]:
    """Certificate and private key can be used together, and the certificate's time is now."""
    server = config.server
    if not server.tls:
        return [ok("none, for server.tls is false")]
    if server.certificate:
        pair = CertificatePair(Path(server.certificate), Path(server.private_key))
    else:
        directory = certificates.state_directory()
        pair = CertificatePair(directory / "certificate.pem", directory / "private_key.pem")
        if not pair.certificate.exists() or not pair.private_key.exists():
            return [ok(f"a self-signed one will be made in {directory} at the next start")]
    to_do = "give a PEM certificate with its private key; site.yml makes or fetches them"
    try:
        pair.ssl_context()
        first = x509.load_pem_x509_certificates(pair.certificate.read_bytes())[0]
        mode = pair.private_key.stat().st_mode
    except (CertificateError, OSError, ValueError) as exc:
        return [failed(str(exc), to_do)]
    return [judge_certificate(first, datetime.now(UTC)), *judge_mode(pair.private_key, mode)]


def judge_certificate(certificate: x509.Certificate, now: datetime) -> Finding:
    """Whether its time is now, and which names it is for."""
    names = ", ".join(_names(certificate)) or "no name"
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    until = f"for {names}; good until {end:%Y-%m-%d %H:%M} UTC"
    renew = "give a new one (site.yml makes or fetches it); then: systemctl reload sagemaker-proxy"
    if end <= now:
        return failed(f"for {names}; expired on {end:%Y-%m-%d %H:%M} UTC", renew)
    if begin > now:
        found = f"for {names}; good from {begin:%Y-%m-%d %H:%M} UTC only"
        return failed(found, "look at this host's clock: timedatectl")
    return warning(until, renew) if end - now < _ENDING else ok(until)


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    names = extension.value
    return [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]


def places(environ: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Where is written to, by what it is."""
    shared = control.socket_path(environ).parent
    found = {
        "state": certificates.state_directory(),
        "figures": shared if shared.exists() else Path(tempfile.gettempdir()),
    }
    for journal in _JOURNALS:
        if journal.exists():
            found["journal"] = journal
            break
    return found


def check_space() -> list[Finding]:
    """There is space left where the proxy and the journal write."""
    return [_look_at_space(what, path) for what, path in places().items()]


def _look_at_space(what: str, path: Path) -> Finding:
    there = path
    while not there.exists() and there != there.parent:  # it is made at the first start
        there = there.parent
    try:
        about = os.statvfs(there)
    except OSError as exc:
        return failed(f"{what}: {path} cannot be looked at: {exc.strerror}", "look at its folders")
    if what != "journal" and not os.access(there, os.W_OK | os.X_OK):
        to_do = "give it to the service's user, or run this as that user"
        return failed(f"{what}: {there} cannot be written to", to_do)
    # Some file systems make room for files as they go, and tell of none.
    files = about.f_favail if about.f_files else None
    return judge_space(f"{what}: {path}", about.f_bavail * about.f_frsize, files)


def judge_space(place: str, left: int, files: int | None) -> Finding:
    """Whether so many bytes, and so many files more, are enough; None: any number of files."""
    found = f"{place} has {left // _MEBIBYTE:,} MiB left"
    to_do = "make room: df -h; journalctl --vacuum-size=200M"
    if left < _NO_BYTES:
        return failed(f"{found}: the disk is full", to_do)
    if files is not None and files < _SCARCE_FILES:
        found += f", and {files:,} files can still be made"
        to_do = "make room: df -i; remove small files that nobody needs"
        return failed(found, to_do) if files < _NO_FILES else warning(found, to_do)
    return warning(found, to_do) if left < _SCARCE_BYTES else ok(found)
