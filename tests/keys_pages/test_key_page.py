"""The page of one key, its public key for machines, and what no page ever shows."""

import base64
import json
import re
from datetime import UTC, timedelta
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from django.test import Client
from django.utils import timezone
from jwt import PyJWK

from cryptosources.models import CryptoSource
from cryptosources.providers.algorithms import KeyAlgorithm
from cryptosources.providers.errors import AccessDenied
from cryptosources.providers.memory import MemoryHsm
from keys.lifecycle import OperationKind
from keys.models import KeyBackup, KeyUse, ManagedKey
from keys.pages.use import signatures_by_day
from secretstore.services import open_from
from tests.conftest import Clock
from tests.keys.conftest import Run
from tests.keys_pages.conftest import Do, NewKey, asked, key_url, operation_url, text_of
from tests.ui.markup import parse, refused_by_csp

K = OperationKind


def _spki(key: ManagedKey) -> bytes:
    return bytes(key.versions.get(version=key.current_version).public_key_der)


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_the_public_key_is_given_as_pem_and_jwk(
    operator: Client, new_key: NewKey, algorithm: KeyAlgorithm
) -> None:
    key = new_key(algorithm=algorithm)
    key.refresh_from_db()
    pem = operator.get(key_url(key, "public-key.pem"))
    assert pem["Content-Disposition"] == 'attachment; filename="seal-1.pem"'
    assert pem["X-Content-Type-Options"] == "nosniff"
    read = load_pem_public_key(pem.content)
    assert read.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == _spki(key)
    jwk = operator.get(key_url(key, "public-key.jwk"))
    assert jwk["Content-Disposition"] == 'attachment; filename="seal-1.jwk"'
    assert jwk["Content-Type"] == "application/jwk+json"
    members = json.loads(jwk.content)
    assert (members["kid"], members["use"]) == (key.current_version, "sig")
    public = PyJWK(members, algorithm=key.signature_algorithms[0].value).key
    assert public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == _spki(key)
    page = parse(text_of(operator.get(key_url(key))))
    assert page.by_id("public-pem").text == pem.content.decode()
    assert json.loads(page.by_id("public-jwk").text) == members


def test_an_older_versions_public_key_is_given_by_its_number(
    operator: Client, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    first = key.current_version
    do(key, K.ROTATE)
    key.refresh_from_db()
    by_version = {
        version: operator.get(key_url(key, "public-key.jwk"), {"version": version}).json()["kid"]
        for version in (first, key.current_version)
    }
    assert by_version == {first: first, key.current_version: key.current_version}
    assert operator.get(key_url(key, "public-key.pem"), {"version": "f" * 32}).status_code == 404
    page = text_of(operator.get(key_url(key)))
    assert page.count("public-key.pem?version=") == 2


def test_a_key_without_a_version_has_no_public_key(operator: Client, source: CryptoSource) -> None:
    now = timezone.now()
    key = ManagedKey.objects.create(
        source=source, name="new", algorithm="EC-P-256", created_at=now, updated_at=now, created_by="a"
    )
    assert operator.get(key_url(key, "public-key.pem")).status_code == 404
    page = text_of(operator.get(key_url(key)))
    assert "No version on record" in page
    assert "BEGIN PUBLIC KEY" not in page


@pytest.mark.parametrize("part", ["", "live/", "sign/", "verify/", "delete/", "public-key.pem"])
def test_an_unknown_key_is_not_found(operator: Client, part: str) -> None:
    assert operator.get(f"/keys/managedkey/{uuid4()}/{part}").status_code == 404


def test_backups_are_told_with_how_and_when_they_were_verified(
    operator: Client, backed_up: CryptoSource, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    do(key, K.ROTATE)
    page = text_of(operator.get(key_url(key)))
    backups = page.partition('id="backups"')[2].partition("</section>")[0]
    assert backups.count("opened by the HSM") == 2
    assert "2 versions" in backups
    assert "1 version<" in backups
    assert backups.count("in force") == 1
    KeyBackup.objects.update(proof="decoded")
    assert "form checked only" in text_of(operator.get(key_url(key)))
    KeyBackup.objects.update(proof="", verified_at=None)
    assert "not verified" in text_of(operator.get(key_url(key)))


def test_use_is_drawn_by_day_with_the_days_between(operator: Client, new_key: NewKey) -> None:
    key = new_key()
    today = timezone.now().astimezone(UTC).date()
    for ago, count in ((0, 50), (1, 100), (29, 1), (30, 999)):
        KeyUse.objects.create(key=key, day=today - timedelta(days=ago), signatures=count)
    days = [count for _day, count in signatures_by_day(key.use.all(), now=timezone.now())]
    assert (len(days), days[0], days[-2:], sum(days)) == (30, 1, [100, 50], 151)
    page = text_of(operator.get(key_url(key)))
    assert "<strong>151</strong> <span>in 30 days</span>" in page
    assert "151 signatures in 30 days, at most 100 on one day" in page
    assert len(parse(page).with_class("bar-count")) == 3


def test_nothing_secret_is_on_any_page_or_download(
    operator: Client, backed_up: CryptoSource, hsm: MemoryHsm, new_key: NewKey, do: Do, run: Run
) -> None:
    key = new_key()
    do(key, K.ROTATE)
    signed = run(
        asked(
            operator.post(
                key_url(key, "sign/"), {"what": "digest", "digest": "ab" * 32, "algorithm": "ES256"}
            )
        )
    )
    backup = key.backups.first()
    assert backup is not None
    blob, sealed = open_from(backup, "sealed_blob").reveal(), bytes(backup.sealed_blob)
    needles = [blob, sealed, b"memory-hsm-backup", b"PRIVATE KEY"]
    addresses = ["/keys/managedkey/", "/keys/keyoperation/"]
    addresses += [
        key_url(key, part)
        for part in (
            "",
            "live/",
            "sign/",
            "verify/",
            "delete/",
            "rotate/",
            "public-key.pem",
            "public-key.jwk",
        )
    ]
    for operation in key.operations.all():
        addresses += [operation_url(operation, part) for part in ("", "live/", "status.json")]
    addresses.append(operation_url(signed, "signature.sig"))
    for address in addresses:
        answer = operator.get(address)
        assert answer.status_code == 200, address
        for needle in needles:
            for written in (needle, needle.hex().encode(), base64.b64encode(needle)):
                assert written[:60] not in answer.content, address


def test_every_page_keeps_to_the_content_security_policy(
    operator: Client, backed_up: CryptoSource, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    do(key, K.DELETE)
    operation = key.operations.first()
    assert operation is not None
    addresses = [
        "/keys/managedkey/",
        "/keys/managedkey/add/",
        "/keys/keyoperation/",
        operation_url(operation),
    ]
    addresses += [key_url(key, part) for part in ("", "sign/", "verify/", "update/", "delete/", "rotate/")]
    for address in addresses:
        page = text_of(operator.get(address))
        assert refused_by_csp(page) == [], address
        visible = re.sub(r"<template[^>]*>.*?</template>", "", page, flags=re.DOTALL)
        identifiers = re.findall(r'\bid="([^"]+)"', visible)
        assert len(identifiers) == len(set(identifiers)), address


def test_the_page_leads_to_the_operation_that_failed_last(
    operator: Client, hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock
) -> None:
    key = new_key()
    assert "Look at it" not in text_of(operator.get(key_url(key)))
    clock.advance(seconds=1)
    hsm.fail_next("backup", AccessDenied("The account may not back up.", missing_right="backup"))
    failed = do(key, K.BACKUP)
    page = text_of(operator.get(key_url(key)))
    assert "Back up failed." in page
    assert "The account may not back up." in page
    assert f'href="{operation_url(failed)}">Look at it' in page
    clock.advance(seconds=1)
    do(key, K.BACKUP)
    assert "Look at it" not in text_of(operator.get(key_url(key)))
