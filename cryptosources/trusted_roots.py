"""The *Trusted root certificates* of a source: PEM in, checked and tidy PEM out. No Django."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

MAX_LENGTH: Final = 200_000


class BadRoots(ValueError):
    """The text is not a list of certificates of authorities; ``str()`` says what to do."""


@dataclass(frozen=True, slots=True)
class RootCertificate:
    """What a person recognises a root by. ``not_after`` is an aware UTC time."""

    subject: str
    not_after: datetime
    pem: str


def parse(text: str) -> tuple[RootCertificate, ...]:
    """The certificates in ``text``, each once, in their order; empty for blank text.

    Raises :class:`BadRoots` when something cannot be read, when a private key is among them, or when a
    certificate says that it is not one of an authority (RFC 5280, 4.2.1.9).
    """
    if not text.strip():
        return ()
    if len(text) > MAX_LENGTH:
        raise BadRoots(f"This is longer than {MAX_LENGTH // 1000} kB. Give the root certificates only.")
    if "PRIVATE KEY-----" in text:
        raise BadRoots(
            "This contains a private key. Give certificates only, and replace that key: it has been shown."
        )
    try:
        certificates = x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise BadRoots(
            "This is not a list of PEM certificates. Each must begin with -----BEGIN CERTIFICATE----- "
            "and end with -----END CERTIFICATE-----."
        ) from error
    return tuple(_describe(certificate) for certificate in dict.fromkeys(certificates))


def normalise(text: str) -> str:
    """The same certificates as clean PEM. Raises :class:`BadRoots`."""
    return "".join(root.pem for root in parse(text))


def _describe(certificate: x509.Certificate) -> RootCertificate:
    subject = certificate.subject.rfc4514_string() or "(no subject)"
    if not _may_be_authority(certificate):
        raise BadRoots(
            f"“{subject}” is a server's certificate, not an authority's. "
            "Give the root certificate that issued it."
        )
    return RootCertificate(
        subject=subject,
        not_after=certificate.not_valid_after_utc,
        pem=certificate.public_bytes(Encoding.PEM).decode(),
    )


def _may_be_authority(certificate: x509.Certificate) -> bool:
    """Version 1 certificates carry no extensions, so they cannot say."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return certificate.version is x509.Version.v1
    except ValueError:
        return False
    return constraints.value.ca
