"""Verifying a signature with the public keys on record: here, without the HSM."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.http import HttpRequest, HttpResponseBase

from cryptosources.providers.algorithms import SignatureAlgorithm
from cryptosources.providers.signatures import raw_to_der, signature_is_valid
from keys.forms import VerifyForm
from keys.models import KeyVersion
from keys.pages.page import VIEW_KEYS, find_key, key_url, needs, render


@dataclass(frozen=True, slots=True)
class Verdict:
    """``version`` is the one whose public key verifies the signature; None when none does.

    ``chosen`` is the only one that was tried; None when all on record were. ``file`` is the name of the
    file that was hashed, empty where the digest was given; ``digest`` is in hexadecimal.
    """

    algorithm: SignatureAlgorithm
    version: KeyVersion | None
    chosen: KeyVersion | None
    file: str
    digest: str

    @property
    def kind(self) -> str:
        """``an ES256 signature``."""
        article = "a" if self.algorithm.value.startswith("P") else "an"
        return f"{article} {self.algorithm} signature"


@needs(VIEW_KEYS)
def verify(request: HttpRequest, key_id: UUID) -> HttpResponseBase:
    """Changes nothing, so everybody who may see the key may verify with it."""
    key = find_key(key_id)
    form = VerifyForm(request.POST or None, request.FILES or None, key=key, initial=_initial(request))
    verdict = _verdict(form) if request.method == "POST" and form.is_valid() else None
    return render(
        request,
        "keys/verify.html",
        title=f"Verify with {key.name}",
        key=key,
        form=form,
        verdict=verdict,
        back_url=key_url(key),
    )


def _initial(request: HttpRequest) -> dict[str, str]:
    """An operation's page leads here with its digest and signature in the address."""
    return {
        name: request.GET[name]
        for name in ("what", "digest", "algorithm", "signature", "version")
        if name in request.GET
    }


def _verdict(form: VerifyForm) -> Verdict:
    entered = form.cleaned_data
    chosen = entered["version"]
    versions = [chosen] if chosen else list(form.key.versions.all())
    verifying = verifying_version(
        versions,
        digest=entered["digest_bytes"],
        signature=entered["signature_bytes"],
        algorithm=entered["algorithm"],
    )
    return Verdict(
        algorithm=entered["algorithm"],
        version=verifying,
        chosen=chosen,
        file=form.file_name,
        digest=entered["digest_bytes"].hex(),
    )


def verifying_version(
    versions: Iterable[KeyVersion], *, digest: bytes, signature: bytes, algorithm: SignatureAlgorithm
) -> KeyVersion | None:
    """The first version under whose public key the signature (ECDSA as DER or raw) verifies."""
    candidates = _forms(signature, algorithm)
    for version in versions:
        public_key = bytes(version.public_key_der)
        if any(_valid(public_key, digest, candidate, algorithm) for candidate in candidates):
            return version
    return None


def _valid(public_key: bytes, digest: bytes, signature: bytes, algorithm: SignatureAlgorithm) -> bool:
    return signature_is_valid(
        public_key_der=public_key, digest=digest, signature=signature, algorithm=algorithm
    )


def _forms(signature: bytes, algorithm: SignatureAlgorithm) -> list[bytes]:
    """The signature as given and, where its length fits, read as raw r‖s."""
    if not algorithm.is_ecdsa:
        return [signature]
    try:
        return [signature, raw_to_der(signature, algorithm)]
    except ValueError:
        return [signature]
