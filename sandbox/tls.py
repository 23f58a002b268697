"""The sandbox's certificate authority and server certificate, kept in the data directory."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox.estate import replace_file

CA_FILE = "ca.pem"
_CA_YEARS, _SERVER_DAYS, _RENEW_BEFORE = 10, 365, timedelta(days=30)
# OpenSSL matches no wildcard directly under a top level, so the promised name stands beside it.
_ALWAYS = ("localhost", "hsm.localhost", "*.localhost")
_LOOPBACK = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))


def server_context(data: Path, hostnames: list[str], now: datetime) -> ssl.SSLContext:
    """A TLS context whose certificate covers every host name. Makes authority and certificate if needed."""
    ca_key, ca = _authority(data, now)
    certificate, key = data / "server.pem", data / "server-key.pem"
    if not _is_good(certificate, ca, hostnames, now):
        server_key = ec.generate_private_key(ec.SECP256R1())
        signed = _issue(server_key.public_key(), ca, ca_key, hostnames, now)
        replace_file(key, _pem(server_key))
        replace_file(certificate, signed.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def _authority(data: Path, now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key_file, file = data / "ca-key.pem", data / CA_FILE
    if not (key_file.exists() and file.exists()):
        key = ec.generate_private_key(ec.SECP256R1())
        replace_file(key_file, _pem(key))
        replace_file(file, _self_signed(key, now).public_bytes(serialization.Encoding.PEM))
    loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise TypeError(key_file)
    return loaded, x509.load_pem_x509_certificate(file.read_bytes())


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Key Manager sandbox CA")])
    builder = _builder(name, name, key.public_key(), now, timedelta(days=365 * _CA_YEARS))
    usage = _key_usage(signs_certificates=True)
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _issue(
    key: ec.EllipticCurvePublicKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    hostnames: list[str],
    now: datetime,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Key Manager sandbox")])
    names = [x509.DNSName(host) for host in _names(hostnames)] + [x509.IPAddress(ip) for ip in _LOOPBACK]
    return (
        _builder(name, ca.subject, key, now, timedelta(days=_SERVER_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )


def _is_good(file: Path, ca: x509.Certificate, hostnames: list[str], now: datetime) -> bool:
    """Whether the certificate on disk is the authority's, covers the names, and lasts a while yet."""
    if not file.exists():
        return False
    found = x509.load_pem_x509_certificate(file.read_bytes())
    covered = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    names = set(covered.get_values_for_type(x509.DNSName))
    key_id = found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    ca_key_id = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    return (
        key_id == ca_key_id and names == _names(hostnames) and found.not_valid_after_utc - now > _RENEW_BEFORE
    )


def _names(hostnames: list[str]) -> set[str]:
    return {*_ALWAYS, *hostnames}


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    start = now.astimezone(UTC) - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
