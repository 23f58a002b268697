"""The main job, done over HTTP as two people would: from the crypto source's form to a verified signature."""

import secrets
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import requests
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from demo.installation import Installation
from demo.person import Page, Person, Refused
from demo.prepare import WALK_ACCOUNTS
from demo.report import say, step

OPERATOR, ADMINISTRATOR = WALK_ACCOUNTS
SOURCES = "/cryptosources/cryptosource/"
KEYS = "/keys/managedkey/"
SOURCE_NAME = "Demo HSM"
SECONDS = 60.0


class WalkFailed(Exception):
    """A step went wrong; the text says which and why."""


@dataclass(frozen=True)
class KeyPlan:
    """One key that the walk takes through its life."""

    title: str
    prefix: str
    algorithm: str
    signature: str


PLANS = (
    KeyPlan("RSA-HSM 3072", "demo-rsa", "RSA-3072", "PS256"),
    KeyPlan("EC-HSM P-256", "demo-ec", "EC-P-256", "ES256"),
)


class Walk:
    """One walk through a running installation. What earlier walks left stays, and is used again."""

    def __init__(self, installation: Installation, *, passwords: dict[str, str]) -> None:
        self.installation = installation
        self.passwords = passwords
        self.operator = Person(installation.url)
        self.administrator = Person(installation.url)
        self._title = "the start"

    def run(self) -> None:
        """Raises WalkFailed."""
        say("A walk through the main job:")
        try:
            self._sign_in()
            source = self._source()
            for plan in PLANS:
                self._key(source, plan)
        except (Refused, requests.RequestException, InvalidSignature) as err:
            raise WalkFailed(f"{self._title}: {err or type(err).__name__}") from err

    def _step(self, title: str) -> AbstractContextManager[None]:
        self._title = title
        return step(title)

    # People and crypto source -----------------------------------------------------------------

    def _sign_in(self) -> None:
        with self._step("Sign in as operator and as administrator"):
            self.operator.sign_in(OPERATOR, self.passwords[OPERATOR])
            self.administrator.sign_in(ADMINISTRATOR, self.passwords[ADMINISTRATOR])

    def _source(self) -> str:
        """The address of the active, tested crypto source's page."""
        path = self._known_source() or self._new_source()
        page = self.administrator.open(path)
        if any(form.action.endswith("/activate/") for form in page.forms):
            with self._step("Administrator: make the crypto source Active"):
                self.administrator.send(page.form(action="/activate/"))
        with self._step("Test the connection"):
            self._test(path)
        return path

    def _known_source(self) -> str:
        with self._step("Look for the crypto source of an earlier run"):
            page = self.operator.open(f"{SOURCES}?q={self._source_name}")
        return urlsplit(page.links.get(self._source_name, "")).path

    @property
    def _source_name(self) -> str:
        return f"{SOURCE_NAME} {self.installation.sandbox_port}"

    def _new_source(self) -> str:
        sandbox = self.installation.sandbox_credentials()
        with self._step("Operator: fill in the form of a new crypto source"):
            form = self.operator.open(f"{SOURCES}add/").form("friendly_name", "dns_name", "key")
            page = self.operator.send(
                form,
                friendly_name=self._source_name,
                kind="azure_managed_hsm",
                dns_name=sandbox["address"],
                token_endpoint=sandbox["token_endpoint"],
                application_id=sandbox["application_id"],
                key=sandbox["secret"],
                secret_expires_on=sandbox["secret_ends"][:10],
                trusted_roots=Path(sandbox["ca_file"]).read_text(),
            )
            if page.path.endswith("/add/"):
                raise Refused(page.gist)
        return page.path

    def _test(self, path: str) -> None:
        page = self.operator.send(self.operator.open(path).form(action="/test/"))
        if page.live:
            self.operator.wait(page.live[0], seconds=SECONDS)
            page = self.operator.open(path)
        if "The connection works" not in page.text:
            raise Refused(page.gist)

    # Keys -------------------------------------------------------------------------------------

    def _key(self, source: str, plan: KeyPlan) -> None:
        name = f"{plan.prefix}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        path = self._generate(source, plan, name)
        before = self._public_key(path)
        for kind, words in (("backup", "Back it up"), ("delete", "Delete it (soft)")):
            self._act(path, kind, f"{plan.title}: {words}")
        self._act(path, "purge", f"{plan.title}: Purge it (permanent)", typed_name=name)
        self._act(path, "restore", f"{plan.title}: Restore it from the backup blob")
        self._sign(path, plan, before)

    def _generate(self, source: str, plan: KeyPlan, name: str) -> str:
        """The path of the new key's page."""
        with self._step(f"{plan.title}: Generate {name}"):
            form = self.operator.open(f"{KEYS}add/").form("source", "name", "algorithm")
            page = self.operator.send(
                form, source=source.rstrip("/").rpartition("/")[2], name=name, algorithm=plan.algorithm
            )
            done = self._finish(page)
        return f"{KEYS}{done['key']['id']}/"

    def _act(self, path: str, kind: str, title: str, **answers: str) -> None:
        with self._step(title):
            form = self.operator.open(f"{path}{kind}/").form(*answers, action=f"/{kind}/")
            self._finish(self.operator.send(form, files=None, **answers))

    def _finish(self, page: Page) -> dict[str, dict[str, str]]:
        """Follow an operation to its end. Raises Refused with the reason when it failed."""
        if "/keyoperation/" not in page.path:
            raise Refused(page.gist)
        done = self.operator.wait(f"{page.path}status.json", seconds=SECONDS)
        if done["state"] != "succeeded":
            raise Refused(f"{done['error']} {done['error_code']}")
        return done

    def _public_key(self, path: str) -> bytes:
        return self.operator.open(f"{path}public-key.pem").body

    def _sign(self, path: str, plan: KeyPlan, before: bytes) -> None:
        document = f"Signed by the walk on {datetime.now(UTC):%Y-%m-%d %H:%M:%S}.\n".encode()
        with self._step(f"{plan.title}: Sign a file with {plan.signature}"):
            form = self.operator.open(f"{path}sign/").form("what", "file", "algorithm")
            files = {"file": ("document.txt", document)}
            page = self.operator.send(form, files=files, what="file", algorithm=plan.signature)
            self._finish(page)
            signature = self.operator.open(f"{page.path}signature.sig").body
        with self._step(f"{plan.title}: Verify the signature outside, with cryptography"):
            pem = self._public_key(path)
            if pem != before:
                raise Refused("the restored key has another public key")
            verify(pem, signature, document)


def verify(pem: bytes, signature: bytes, document: bytes) -> None:
    """PS256 or ES256 (DER) over the document, by the kind of key. Raises InvalidSignature."""
    key = load_pem_public_key(pem)
    if isinstance(key, rsa.RSAPublicKey):
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)
        key.verify(signature, document, pss, hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, document, ec.ECDSA(hashes.SHA256()))
    else:
        raise InvalidSignature("a public key of another kind")
