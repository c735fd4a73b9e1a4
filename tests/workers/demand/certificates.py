"""Certificates for tests: a CA, and the files of certificates that it signed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Files:
    """A certificate and its key in PEM."""

    cert: Path
    key: Path


class Authority:
    """A CA that signs certificates for this host, with or without key identifiers.

    The CAs of EKS and of other clusters have none, and Go then writes none into what they sign. Python
    3.13 rejects both by default (urllib3 issue 3614).
    """

    def __init__(self, folder: Path, *, key_identifiers: bool = True) -> None:
        self._folder = folder
        self._key_identifiers = key_identifiers
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("a test's CA")
        self.cert = folder / "ca.crt"
        is_ca = (x509.BasicConstraints(ca=True, path_length=None), True)
        signs = x509.KeyUsage(
            key_cert_sign=True,
            crl_sign=True,
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        extensions = [is_ca, (signs, True)] if key_identifiers else [is_ca]
        certificate = self._signed(self._name, self._key.public_key(), extensions)
        self.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> Files:
        """Write a certificate for this host and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        host = (x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), False)
        certificate = self._signed(_name(name), key.public_key(), [host])
        files = Files(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        files.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )
        if self._key_identifiers:
            own = x509.SubjectKeyIdentifier.from_public_key(key)
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            extensions = [*extensions, (own, False), (issuer, False)]
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, is_critical)
        return builder.sign(self._key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
