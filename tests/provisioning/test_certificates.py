"""A certificate of one's own, one from an ACME server, and one that nobody has signed."""

import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from proxy import certificates
from tests.provisioning.service import Service
from tests.testhost.pebble import Pebble

pytestmark = pytest.mark.timeout(600)

DOMAIN = "proxy.example.com"
TIMER = "sagemaker-proxy-certbot.timer"


@pytest.fixture(scope="module")
def own(other_service: Service) -> Iterator[Service]:
    """A service that may be given any certificate; it goes back to its own."""
    pair = "certificate.pem private_key.pem"
    other_service.host.run(f"cd /etc/sagemaker-proxy && cp -p {pair} /root")
    yield other_service
    other_service.host.run(f"cd /root && cp -p {pair} /etc/sagemaker-proxy")
    other_service.host.run("systemctl reload sagemaker-proxy")


def given(pair: certificates.CertificatePair) -> dict[str, Any]:
    return {
        "certificates_mode": "provided",
        "certificates_provided_certificate": str(pair.certificate),
        "certificates_provided_private_key": str(pair.private_key),
    }


def served(service: Service) -> x509.Certificate:
    """The certificate that a client is shown."""
    pem = ssl.get_server_certificate((service.host.address, 8000), timeout=10)
    return x509.load_pem_x509_certificate(pem.encode())


def names(certificate: x509.Certificate) -> list[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


class TestProvided:
    def test_it_is_served(self, own: Service, tmp_path: Path) -> None:
        pair = certificates.create(tmp_path, ["mine.example.com"])
        assert own.foreseen(**given(pair)) == "reload"
        outcome = own.play(
            certificates_mode="provided",
            certificates_provided_certificate=str(pair.certificate),
            certificates_provided_private_key_content=pair.private_key.read_text(),
        )
        assert names(served(own)) == ["mine.example.com"]
        assert pair.private_key.read_text().splitlines()[1] not in outcome.output
        written = own.host.run("cat /etc/sagemaker-proxy/private_key.pem").stdout
        assert written == pair.private_key.read_text()

    def test_one_that_cannot_be_used_is_refused_and_the_other_stays(
        self, own: Service, tmp_path: Path
    ) -> None:
        before = served(own)
        expired = certificates.create(tmp_path / "one", ["bad.example.com"], days=0)
        other = certificates.create(tmp_path / "other", ["bad.example.com"])
        pair = certificates.CertificatePair(expired.certificate, other.private_key)
        output = " ".join(own.play(ok=False, **given(pair)).output.split())
        assert "The certificate expired on" in output
        assert "does not belong to" in output
        assert served(own) == before


class TestAcme:
    def test_it_is_fetched_served_renewed_and_given_up(self, own: Service) -> None:
        with Pebble(own.host, validity=timedelta(minutes=30)) as pebble:
            variables: dict[str, Any] = {
                "certificates_mode": "acme",
                "certificates_acme_domains": [DOMAIN],
                "certificates_acme_directory_url": pebble.directory_url,
                "certificates_acme_ca": str(pebble.ca),
            }
            own.play(**variables)
            first = served(own)
            assert names(first) == [DOMAIN]
            assert "Pebble" in first.issuer.rfc4514_string()
            assert own.host.run(f"systemctl is-active {TIMER}").stdout == "active\n"
            own.host.run("systemctl --quiet disable sagemaker-proxy.service")
            changed = own.play(**variables).changed_tasks
            assert changed == ["proxy : Start, restart or reload the service"]
            conf = "/var/lib/sagemaker-proxy-certbot/config/renewal/sagemaker-proxy.conf"
            own.host.run(f"sed -i '1i renew_before_expiry = 1 hour' {conf}")
            main = own.show("MainPID")
            own.host.run("systemctl start sagemaker-proxy-certbot.service", timeout=90)
            second = served(own)
            assert names(second) == [DOMAIN]
            assert second.serial_number != first.serial_number
            assert own.show("MainPID") == main
            # A hook that failed is made up for; and another server gives another certificate.
            pair = "certificate.pem private_key.pem"
            own.host.run(f"cd /root && cp -p {pair} /etc/sagemaker-proxy")
            own.play(**variables)
            assert served(own) == second
            own.host.run(f"sed -i 's/^server = .*/server = https:..example.com/' {conf}")
            own.play(**variables)
            third = served(own)
            assert third.issuer == second.issuer
            assert third.serial_number != second.serial_number
        own.play()
        assert served(own).subject.rfc4514_string() == "CN=sagemaker-proxy"
        assert own.host.run(f"systemctl is-active {TIMER}", check=False).stdout == "inactive\n"
        assert own.host.run("ls /var/lib /opt/sagemaker-proxy").stdout.count("certbot") == 0


class TestSelfSigned:
    def test_it_is_renewed_near_its_end_and_never_otherwise(
        self, own: Service, tmp_path: Path
    ) -> None:
        pair = certificates.create(tmp_path, ["ending.example.com"], days=29)
        for path in (pair.certificate, pair.private_key):
            own.host.run(f"cat > /etc/sagemaker-proxy/{path.name}", stdin=path.read_text())
        outcome = own.play(certificates_selfsigned_renew_days=28)
        assert "The certificate stays, which does not have" in " ".join(outcome.output.split())
        assert names(served(own)) == ["ending.example.com"]
        assert own.foreseen() == "reload"
        own.play(certificates_names=["new.example.com", "192.0.2.7"])
        renewed = served(own)
        assert names(renewed) == ["new.example.com"]
        lifetime = renewed.not_valid_after_utc - renewed.not_valid_before_utc
        assert lifetime == timedelta(days=825)
