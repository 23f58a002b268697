"""Verifying with the public keys on record, without the HSM."""

import base64
import hashlib
from collections import Counter

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.memory import MemoryHsm
from keys.models import KeyOperation, ManagedKey
from keys.pages.signatures import SignatureView, signature_of
from keys.services import requests
from tests.conftest import Clock
from tests.keys.conftest import ALICE, Run
from tests.keys_pages.conftest import NewKey, SignIn, asked, key_url, operation_url, text_of
from tests.ui.markup import parse

CONTENT = b"what was signed"
VALID, INVALID = "The signature is valid.", "The signature is not valid."


def _signature(key: ManagedKey, run: Run, clock: Clock, algorithm: SignatureAlgorithm) -> SignatureView:
    operation = requests.request_signature(
        key=key,
        algorithm=algorithm,
        digest=hashlib.new(algorithm.hash_name, CONTENT).digest(),
        label="",
        actor=ALICE,
        now=clock(),
    )
    signature = signature_of(run(operation))
    assert signature is not None
    return signature


def _verify(client: Client, key: ManagedKey, made: SignatureView, /, **changes: object) -> str:
    entered: dict[str, object] = {
        "what": "digest",
        "digest": made.digest.hex(),
        "algorithm": made.algorithm.value,
        "signature": made.text("der", "base64"),
    }
    return text_of(client.post(key_url(key, "verify/"), entered | changes))


@pytest.mark.parametrize("form", ["der", "raw"])
@pytest.mark.parametrize("encoding", ["base64", "hex"])
def test_a_signature_verifies_in_every_writing(
    operator: Client, new_key: NewKey, run: Run, clock: Clock, form: str, encoding: str
) -> None:
    key = new_key()
    signature = _signature(key, run, clock, SignatureAlgorithm.ES256)
    page = _verify(operator, key, signature, signature=signature.text(form, encoding))
    assert VALID in page
    assert key.current_version in page
    assert f'over the digest <code class="code-inline">{signature.digest.hex()}</code>' in page


@pytest.mark.parametrize("algorithm", [SignatureAlgorithm.RS512, SignatureAlgorithm.PS256])
def test_a_file_with_a_signature_file_verifies(
    operator: Client, new_key: NewKey, run: Run, clock: Clock, algorithm: SignatureAlgorithm
) -> None:
    key = new_key(algorithm=KeyAlgorithm.RSA_2048)
    signature = _signature(key, run, clock, algorithm)
    entered = {
        "what": "file",
        "file": SimpleUploadedFile("contract.pdf", CONTENT),
        "algorithm": algorithm.value,
        "signature_file": SimpleUploadedFile("x.sig", signature.der),
    }
    page = text_of(operator.post(key_url(key, "verify/"), entered))
    assert VALID in page
    assert "contract.pdf</strong>, whose digest is" in page
    assert signature.digest.hex() in page
    entered |= {
        "file": SimpleUploadedFile("x", CONTENT + b"."),
        "signature_file": SimpleUploadedFile("x.sig", signature.der),
    }
    assert INVALID in text_of(operator.post(key_url(key, "verify/"), entered))


def test_another_digest_signature_algorithm_or_key_is_not_valid(
    operator: Client, new_key: NewKey, run: Run, clock: Clock
) -> None:
    key, other = (new_key(name, KeyAlgorithm.RSA_2048) for name in ("seal-1", "seal-2"))
    signature = _signature(key, run, clock, SignatureAlgorithm.RS256)
    assert VALID in _verify(operator, key, signature)
    assert INVALID in _verify(operator, key, signature, digest="00" * 32)
    assert INVALID in _verify(operator, key, signature, signature="AAAA")
    assert INVALID in _verify(operator, key, signature, algorithm="PS256")
    assert INVALID in _verify(operator, other, signature)


def test_a_version_may_be_named_and_any_is_found(
    operator: Client, new_key: NewKey, run: Run, clock: Clock
) -> None:
    key = new_key()
    signature, first = _signature(key, run, clock, SignatureAlgorithm.ES256), key.current_version
    run(asked(operator.post(key_url(key, "rotate/"))))
    key.refresh_from_db()
    assert key.current_version != first
    page = _verify(operator, key, signature)
    assert VALID in page
    assert f'version <code class="code-inline">{first}</code>' in page
    assert VALID in _verify(operator, key, signature, version=first)
    assert INVALID in _verify(operator, key, signature, version=key.current_version)
    assert "id_version_error" in _verify(operator, key, signature, version="nonsense")


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"signature": ""}, "signature", "Give the signature."),
        ({"signature": "*"}, "signature", "neither hexadecimal nor base64"),
        (
            {"signature_file": SimpleUploadedFile("s", b"x")},
            "signature",
            "as text or as a file, not both",
        ),
        (
            {"signature": "", "signature_file": SimpleUploadedFile("s", b"x" * 20_000)},
            "signature_file",
            "too large",
        ),
        ({"digest": "00"}, "digest", "32 bytes"),
    ],
)
def test_what_cannot_be_read_is_an_error_at_its_field(
    operator: Client,
    new_key: NewKey,
    run: Run,
    clock: Clock,
    changes: dict[str, object],
    field: str,
    told: str,
) -> None:
    key = new_key()
    signature = _signature(key, run, clock, SignatureAlgorithm.ES256)
    page = _verify(operator, key, signature, **changes)
    assert VALID not in page
    assert INVALID not in page
    assert told in parse(page).by_id(f"id_{field}_error").text + page
    assert parse(page).by_id(f"id_{field}_error")


def test_the_operations_page_leads_to_a_form_filled_in(
    operator: Client, new_key: NewKey, run: Run, clock: Clock
) -> None:
    key = new_key()
    signature = _signature(key, run, clock, SignatureAlgorithm.ES256)
    operation = KeyOperation.objects.get(kind="sign")
    links = [a["href"] for a in parse(text_of(operator.get(operation_url(operation)))).all("a")]
    page = parse(text_of(operator.get(next(link for link in links if "/verify/?" in link))))
    assert page.by_id("id_digest").get("value") == signature.digest.hex()
    assert page.by_id("id_signature").text.strip() == base64.b64encode(signature.der).decode()


def test_readers_verify_and_the_hsm_is_never_asked(
    sign_in: SignIn, new_key: NewKey, hsm: MemoryHsm, run: Run, clock: Clock
) -> None:
    key = new_key()
    signature = _signature(key, run, clock, SignatureAlgorithm.ES256)
    calls = Counter(hsm.calls)
    assert VALID in _verify(sign_in("auditor"), key, signature)
    assert hsm.calls == calls


@pytest.mark.parametrize(
    ("algorithm", "key_type", "named"),
    [
        (SignatureAlgorithm.ES256, KeyAlgorithm.EC_P256, "not an ES256 signature"),
        (SignatureAlgorithm.RS256, KeyAlgorithm.RSA_2048, "not an RS256 signature"),
        (SignatureAlgorithm.PS256, KeyAlgorithm.RSA_2048, "not a PS256 signature"),
    ],
)
def test_a_refusal_says_which_versions_were_tried(
    operator: Client,
    new_key: NewKey,
    run: Run,
    clock: Clock,
    algorithm: SignatureAlgorithm,
    key_type: KeyAlgorithm,
    named: str,
) -> None:
    key = new_key(algorithm=key_type)
    signature = _signature(key, run, clock, algorithm)
    told = _verify(operator, key, signature, digest="00" * 32)
    assert named in told
    assert "by any version on record of seal-1" in told
    told = _verify(operator, key, signature, digest="00" * 32, version=key.current_version)
    assert "by this version of seal-1" in told
