"""The main job, by a person in a browser: from an empty console to a signature verified outside."""

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from playwright.sync_api import expect

from tests.journeys.person import Person

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(240)]
DOCUMENT = b"The contract, in its last version.\n" * 500


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "contract.txt"
    path.write_bytes(DOCUMENT)
    return path


def test_from_an_empty_console_to_a_verified_signature(administrator: Person, document: Path) -> None:
    person = administrator
    person.create_source("Contoso HSM")
    test = person.test_connection()
    expect(test.locator(".message-success")).to_contain_text("The connection works")
    for step in ("TLS certificate", "Tenant and audience", "Sign-in", "Right: sign"):
        expect(test).to_contain_text(step)

    for name, key_type in (("seal-rsa", "RSA-HSM 3072"), ("seal-ec", "EC-HSM P-256")):
        person.generate("Contoso HSM", name, key_type)
        person.act(name, "Back up")
        person.act(name, "Delete…", confirm="Delete this key")
        person.act(name, "Recover")
        person.act(name, "Delete…", confirm="Delete this key")
        person.purge(name)
        person.open_key(name)
        expect(person.main).to_contain_text("not in the HSM")
        person.act(name, "Restore")
        sign_and_verify(person, name, document)


def sign_and_verify(person: Person, name: str, document: Path) -> None:
    person.open_key(name)
    person.main.get_by_role("link", name="Sign", exact=True).first.click()
    person.page.get_by_label("File", exact=True).set_input_files(document)
    person.main.get_by_role("button", name="Sign", exact=True).click()
    person.see_done()
    signature = person.download("Download .sig")
    public_key = load_pem_public_key(person.download("Public key (PEM)"))
    if isinstance(public_key, rsa.RSAPublicKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
        public_key.verify(signature, DOCUMENT, pss, hashes.SHA256())
    else:
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        public_key.verify(signature, DOCUMENT, ec.ECDSA(hashes.SHA256()))


def test_backup_mode_backs_up_rotates_and_signs_a_digest(administrator: Person) -> None:
    person = administrator
    person.create_source("Backup HSM", backup=True)
    person.generate("Backup HSM", "seal-kept", "EC-HSM P-384")
    person.open_key("seal-kept")
    expect(person.main).to_contain_text("opened by the HSM")
    person.act("seal-kept", "Rotate…", confirm="Rotate this key")
    person.open_key("seal-kept")
    person.main.get_by_role("link", name="Sign", exact=True).first.click()
    person.page.get_by_label("A digest").check()
    person.page.get_by_label("Digest", exact=True).fill(hashlib.sha384(DOCUMENT).hexdigest())
    person.main.get_by_role("button", name="Sign", exact=True).click()
    person.see_done()
    person.main.get_by_role("link", name="Raw r‖s").click()
    assert len(person.download("Download .sig")) == 96
    person.main.get_by_role("link", name="Verify here").click()
    person.main.get_by_role("button", name="Verify").click()
    expect(person.main).to_contain_text("The signature is valid.")
