"""Signing a file or a digest, and what the operation's page makes of the result."""

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from django.core.files import uploadhandler
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from cryptosources.models import CryptoSource, SourceStatus
from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm, signature_algorithms
from cryptosources.providers.signatures import signature_is_valid
from keys.models import KeyOperation, ManagedKey
from keys.pages.signatures import signature_of
from tests.keys.conftest import Run
from tests.keys_pages.conftest import NewKey, asked, error_at, key_url, operation_url, text_of
from tests.services import require_tool
from tests.ui.markup import parse

EVERY_PAIR = [(key, algorithm) for key in KeyAlgorithm for algorithm in signature_algorithms(key)]
CONTENT = b"a contract of some length\n" * 5000
SHA256 = hashlib.sha256(CONTENT).digest()


def _file(name: str = "contract 2026.pdf", content: bytes = CONTENT) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def _sign(client: Client, key: ManagedKey, run: Run, **entered: object) -> KeyOperation:
    values = {"what": "file", "file": _file(), "algorithm": key.signature_algorithms[0].value, **entered}
    return run(asked(client.post(key_url(key, "sign/"), values)))


def _refused(client: Client, key: ManagedKey, **entered: object) -> str:
    before = KeyOperation.objects.count()
    page = text_of(client.post(key_url(key, "sign/"), {"what": "digest", "algorithm": "ES256", **entered}))
    assert KeyOperation.objects.count() == before
    return page


@pytest.mark.parametrize(("key_algorithm", "algorithm"), EVERY_PAIR)
def test_a_file_is_signed_with_every_algorithm_of_every_key_type(
    operator: Client,
    new_key: NewKey,
    run: Run,
    key_algorithm: KeyAlgorithm,
    algorithm: SignatureAlgorithm,
) -> None:
    key = new_key(algorithm=key_algorithm)
    operation = _sign(operator, key, run, algorithm=algorithm.value)
    result = operator.get(operation_url(operation, "status.json")).json()["result"]
    assert result["algorithm"] == algorithm.value
    assert signature_is_valid(
        public_key_der=bytes(key.versions.get().public_key_der),
        digest=hashlib.new(algorithm.hash_name, CONTENT).digest(),
        signature=base64.b64decode(result["signature"]),
        algorithm=algorithm,
    )


@pytest.mark.parametrize(
    "written",
    [
        SHA256.hex(),
        SHA256.hex().upper(),
        SHA256.hex(":"),
        f"  {SHA256.hex(' ')}\n",
        base64.b64encode(SHA256).decode(),
        base64.urlsafe_b64encode(SHA256).decode().rstrip("="),
    ],
)
def test_a_digest_is_read_in_every_usual_writing(
    operator: Client, new_key: NewKey, run: Run, written: str
) -> None:
    key = new_key()
    values = {"what": "digest", "digest": written, "algorithm": "ES256", "label": "invoice 7"}
    operation = run(asked(operator.post(key_url(key, "sign/"), values)))
    signature = signature_of(operation)
    assert signature is not None
    assert (signature.digest, signature.label) == (SHA256, "invoice 7")
    assert "invoice 7" in text_of(operator.get(operation_url(operation)))


@pytest.mark.parametrize(
    ("digest", "told"),
    [
        ("", "Give the digest."),
        ("not a digest!", "neither hexadecimal nor base64"),
        ("abcde", "neither hexadecimal nor base64"),
        (hashlib.sha384(b"").hexdigest(), "ES256 signs a digest of 32 bytes; this one has 48."),
        (base64.b64encode(b"short").decode(), "neither hexadecimal nor base64 of 32 bytes"),
    ],
)
def test_a_digest_that_does_not_fit_is_refused_at_its_field(
    operator: Client, new_key: NewKey, digest: str, told: str
) -> None:
    page = _refused(operator, new_key(), digest=digest)
    assert told in page
    assert parse(page).by_id("id_digest_error")
    assert parse(page).by_id("id_digest").get(
        "value",
    ) == (digest or None)


def test_a_file_beside_a_digest_is_refused_not_dropped(operator: Client, new_key: NewKey) -> None:
    assert "You chose a digest" in _refused(operator, new_key(), digest=SHA256.hex(), file=_file())
    assert "You chose a file" in _refused(
        operator, new_key("seal-2"), what="file", file=_file(), digest=SHA256.hex()
    )


def test_an_empty_or_missing_file_is_refused(operator: Client, new_key: NewKey) -> None:
    key = new_key()
    assert "Give the file." in _refused(operator, key, what="file")
    assert "empty" in _refused(operator, key, what="file", file=_file(content=b""))


def test_only_the_keys_own_algorithms_are_offered(operator: Client, new_key: NewKey) -> None:
    key = new_key(algorithm=KeyAlgorithm.EC_P384)
    options = parse(text_of(operator.get(key_url(key, "sign/")))).all("option")
    assert [option.get("value") for option in options] == ["ES384"]
    assert "id_algorithm_error" in _refused(operator, key, digest=SHA256.hex(), algorithm="ES256")


def test_no_upload_is_stored_or_held_however_large(
    operator: Client, new_key: NewKey, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("an upload was stored")

    monkeypatch.setattr(uploadhandler.TemporaryFileUploadHandler, "new_file", never)
    monkeypatch.setattr(uploadhandler.MemoryFileUploadHandler, "new_file", never)
    large = b"\x00\xff" * 3_000_000
    operation = _sign(operator, new_key(), run, file=_file(content=large))
    signature = signature_of(operation)
    assert signature is not None
    assert signature.digest == hashlib.sha256(large).digest()


def test_a_refusal_keeps_a_files_digest_so_that_nobody_chooses_it_again(
    operator: Client, source: CryptoSource, new_key: NewKey
) -> None:
    key = new_key()
    CryptoSource.objects.update(status=SourceStatus.INACTIVE)
    page = _refused(operator, key, what="file", file=_file())
    assert "is Inactive" in page
    markup = parse(page)
    assert markup.by_id("id_digest").get("value") == SHA256.hex()
    assert markup.by_id("id_label").get("value") == "contract 2026.pdf"


def test_a_key_that_cannot_sign_now_shows_why_instead_of_the_form(
    operator: Client, source: CryptoSource, new_key: NewKey
) -> None:
    key = new_key()
    CryptoSource.objects.update(status=SourceStatus.INACTIVE)
    page = text_of(operator.get(key_url(key, "sign/")))
    assert "Not possible now." in page
    assert "id_algorithm" not in page


# --- The result -----------------------------------------------------------------------------------


def test_an_ecdsa_signature_is_shown_as_der_and_raw_in_base64_and_hex(
    operator: Client, new_key: NewKey, run: Run
) -> None:
    key = new_key(algorithm=KeyAlgorithm.EC_P521)
    operation = _sign(operator, key, run)
    result = operator.get(operation_url(operation, "status.json")).json()["result"]
    der, raw = base64.b64decode(result["signature"]), base64.b64decode(result["signature_raw"])
    r, s = decode_dss_signature(der)
    assert raw == r.to_bytes(66, "big") + s.to_bytes(66, "big")
    for form, value in (("der", der), ("raw", raw)):
        for encoding, text in (("base64", base64.b64encode(value).decode()), ("hex", value.hex())):
            page = text_of(operator.get(operation_url(operation), {"form": form, "encoding": encoding}))
            assert parse(page).by_id("signature-text").text == text, (form, encoding)
    assert (
        parse(text_of(operator.get(operation_url(operation)))).by_id("signature-text").text
        == (result["signature"])
    )


def test_an_rsa_signature_has_one_form(operator: Client, new_key: NewKey, run: Run) -> None:
    operation = _sign(operator, new_key(algorithm=KeyAlgorithm.RSA_2048), run)
    page = text_of(operator.get(operation_url(operation), {"form": "raw"}))
    assert "Raw r" not in page
    assert operator.get(operation_url(operation, "signature.sig"), {"form": "raw"}).status_code == 404
    assert "signature_raw" not in operator.get(operation_url(operation, "status.json")).json()["result"]


def test_the_signature_downloads_as_bytes_under_the_files_name(
    operator: Client, new_key: NewKey, run: Run
) -> None:
    operation = _sign(operator, new_key(), run)
    signature = signature_of(operation)
    assert signature is not None
    der = operator.get(operation_url(operation, "signature.sig"))
    assert der.content == signature.der
    assert der["Content-Disposition"] == 'attachment; filename="contract 2026.pdf.sig"'
    assert der["Content-Type"] == "application/octet-stream"
    assert der["X-Content-Type-Options"] == "nosniff"
    raw = operator.get(operation_url(operation, "signature.sig"), {"form": "raw"})
    assert len(raw.content) == 64
    assert raw["Content-Disposition"] == 'attachment; filename="contract 2026.pdf.raw.sig"'
    assert operator.get(operation_url(operation, "signature.sig"), {"form": "pem"}).status_code == 404


@pytest.mark.parametrize(
    "label", ["../../etc/passwd", 'a"b\r\nSet-Cookie: x=1', "$(reboot).pdf", "-rf", "…", "名前.pdf"]
)
def test_a_hostile_label_stays_a_name(operator: Client, new_key: NewKey, run: Run, label: str) -> None:
    operation = _sign(operator, new_key(), run, label=label)
    page = operator.get(operation_url(operation))
    assert page.status_code == 200
    header = operator.get(operation_url(operation, "signature.sig"))["Content-Disposition"]
    assert header.startswith("attachment; filename")
    for part in ("/", "\r", "\n", "$"):
        assert part not in header.replace("utf-8''", "")


def test_an_operation_without_a_signature_has_none_to_download(operator: Client, new_key: NewKey) -> None:
    operation = new_key().operations.get()
    assert operator.get(operation_url(operation, "signature.sig")).status_code == 404
    assert operator.get(operation_url(operation, "status.json")).json()["result"] == {}


@pytest.mark.parametrize(
    ("key_algorithm", "algorithm"),
    [
        (KeyAlgorithm.RSA_2048, SignatureAlgorithm.RS256),
        (KeyAlgorithm.RSA_2048, SignatureAlgorithm.PS384),
        (KeyAlgorithm.EC_P256, SignatureAlgorithm.ES256),
        (KeyAlgorithm.EC_P256K, SignatureAlgorithm.ES256K),
        (KeyAlgorithm.EC_P521, SignatureAlgorithm.ES512),
    ],
)
@pytest.mark.parametrize("label", ["it's a contract.pdf", "-x.pdf"])
def test_the_openssl_lines_verify_what_the_page_lets_people_download(
    operator: Client,
    new_key: NewKey,
    run: Run,
    tmp_path: Path,
    key_algorithm: KeyAlgorithm,
    algorithm: SignatureAlgorithm,
    label: str,
) -> None:
    require_tool("openssl", proves="the OpenSSL lines of the signature page")
    key = new_key(algorithm=key_algorithm)
    operation = _sign(operator, key, run, algorithm=algorithm.value, label=label)
    page = parse(text_of(operator.get(operation_url(operation))))
    for address in (operation_url(operation, "signature.sig"), key_url(key, "public-key.pem")):
        answer = operator.get(address)
        name = answer["Content-Disposition"].partition('filename="')[2].removesuffix('"')
        (tmp_path / name).write_bytes(answer.content)
    (tmp_path / label).write_bytes(CONTENT)
    for identifier in ("openssl-file", "openssl-digest"):
        assert _shell(page.by_id(identifier).text, tmp_path) == 0, identifier
    (tmp_path / label).write_bytes(b"something else")
    assert _shell(page.by_id("openssl-file").text, tmp_path) != 0


def _shell(command: str, folder: Path) -> int:
    ran = subprocess.run(["sh", "-ec", command], cwd=folder, capture_output=True, check=False, timeout=30)
    return ran.returncode


def test_after_a_rotation_the_page_names_the_version_that_signed(
    operator: Client, new_key: NewKey, run: Run, do: object
) -> None:
    key = new_key()
    operation = _sign(operator, key, run)
    first = key.current_version
    run(asked(operator.post(key_url(key, "rotate/"))))
    page = text_of(operator.get(operation_url(operation)))
    assert f"seal-1-{first[:8]}.pem" in page
    assert f"public-key.pem?version={first}" in page
    name = operator.get(key_url(key, "public-key.pem"), {"version": first})["Content-Disposition"]
    assert name == f'attachment; filename="seal-1-{first[:8]}.pem"'


def test_the_operations_page_names_the_version_and_the_digest(
    operator: Client, new_key: NewKey, run: Run
) -> None:
    key = new_key()
    operation = _sign(operator, key, run, algorithm="ES256")
    page = parse(text_of(operator.get(operation_url(operation))))
    labels = [element.text for element in page.all("dt")]
    assert {"Version", "Digest"} <= set(labels)
    assert page.by_id("signed-digest").text == SHA256.hex()
    assert [b for b in page.all("button") if b.get("data-copy") == "signed-digest"]
    link = next(a for a in page.all("a") if a["href"] == f"{key_url(key)}#version-{key.current_version}")
    shown = [element.text for element in page.all("code")]
    assert key.current_version in shown
    assert parse(text_of(operator.get(link["href"]))).by_id(f"version-{key.current_version}")


@pytest.mark.parametrize(
    ("digest", "told"),
    [
        ("zz not a digest", "This is neither hexadecimal nor base64 of 32 bytes (SHA-256)."),
        ("not a digest!", "This is neither hexadecimal nor base64 of 32 bytes (SHA-256)."),
        ("00" * 31, "this one has 31"),
        (base64.b64encode(b"5" * 64).decode(), "this one has 64"),
    ],
)
def test_words_are_no_digest(operator: Client, new_key: NewKey, digest: str, told: str) -> None:
    assert told in error_at(_refused(operator, new_key(), digest=digest), "digest")
