"""A finished signature: its two forms, its writings, and how to verify it outside."""

import base64
import re
import shlex
from dataclasses import dataclass
from typing import Final

from cryptosources.providers.algorithms import SignatureAlgorithm
from cryptosources.providers.signatures import der_to_raw
from keys.models import KeyOperation, KeyVersion

DER: Final = "der"
RAW: Final = "raw"
_UNSAFE: Final = re.compile(r"[^\w.()\[\] +,@-]+")


@dataclass(frozen=True, slots=True)
class SignatureView:
    """A signature as a page or a download needs it. ``der`` is what the HSM gave (RSA has one form only)."""

    algorithm: SignatureAlgorithm
    version: KeyVersion
    digest: bytes
    der: bytes
    label: str

    def value(self, form: str) -> bytes:
        """The signature's bytes; ``raw`` is r‖s and exists for ECDSA only."""
        if form == RAW and self.algorithm.is_ecdsa:
            return der_to_raw(self.der, self.algorithm)
        return self.der

    def text(self, form: str, encoding: str) -> str:
        """The signature as ``base64`` or ``hex``."""
        value = self.value(form)
        return value.hex() if encoding == "hex" else base64.b64encode(value).decode()

    @property
    def forms(self) -> tuple[str, ...]:
        return (DER, RAW) if self.algorithm.is_ecdsa else (DER,)

    @property
    def file_name(self) -> str:
        """What the signed file was called, fit for a download's name."""
        return _UNSAFE.sub("_", self.label).strip(". _-")[:100] or "digest"

    @property
    def verify_file(self) -> str:
        """An OpenSSL command that verifies the signature over the file with this page's downloads.

        OpenSSL reads ECDSA signatures as DER.
        """
        signed = self.label or "FILE"
        path = f"./{signed}" if signed.startswith("-") else signed
        return (
            f"openssl dgst -{self.algorithm.hash_name} -verify {self._public_key_file} "
            f"{self._padding('-sigopt')}-signature {self._signature_file} {shlex.quote(path)}"
        )

    @property
    def verify_digest(self) -> str:
        """Commands that verify the signature over the digest alone."""
        return (
            f"echo {base64.b64encode(self.digest).decode()} | openssl base64 -d -A -out digest.bin\n"
            f"openssl pkeyutl -verify -pubin -inkey {self._public_key_file} -sigfile {self._signature_file} "
            f"-in digest.bin {self._padding('-pkeyopt')}-pkeyopt digest:{self.algorithm.hash_name}"
        )

    @property
    def _signature_file(self) -> str:
        return shlex.quote(f"{self.file_name}.sig")

    @property
    def _public_key_file(self) -> str:
        return shlex.quote(f"{public_key_name(self.version)}.pem")

    def _padding(self, flag: str) -> str:
        """PSS salts have the digest's length (RFC 7518, 3.5)."""
        if not self.algorithm.value.startswith("PS"):
            return ""
        return f"{flag} rsa_padding_mode:pss {flag} rsa_pss_saltlen:digest "


def public_key_name(version: KeyVersion) -> str:
    """The name of a public key's download, without its ending: the current version needs no number."""
    key = version.key
    return key.name if version.version == key.current_version else f"{key.name}-{version.version[:8]}"


def signature_of(operation: KeyOperation) -> SignatureView | None:
    """The result of a signature operation; None while there is none."""
    signature = operation.result.get("signature")
    if not signature:
        return None
    parameters = operation.parameters
    version = KeyVersion.objects.select_related("key").get(
        key=operation.key_id, version=operation.result["version"]
    )
    return SignatureView(
        algorithm=SignatureAlgorithm(parameters["algorithm"]),
        version=version,
        digest=base64.b64decode(parameters["digest"]),
        der=base64.b64decode(signature),
        label=parameters.get("label", ""),
    )
