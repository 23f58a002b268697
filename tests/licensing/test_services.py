"""What is allowed, by the licence installed last, at once."""

import json
import os
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import CommandError, call_command
from pytest_django import DjangoAssertNumQueries, Settings

from audit.actors import Actor
from audit.models import AuditRecord
from licensing.models import Licence
from licensing.services import (
    FeatureNotLicensed,
    LicenceError,
    current,
    install_licence,
    refusal,
    refusal_in,
    require_feature,
)
from tests.licensing.conftest import FEATURE, NOW, Issue, pem

ACTOR = Actor.command("tests")
pytestmark = pytest.mark.django_db


def install(token: str) -> Licence:
    return install_licence(token=token, actor=ACTOR, now=NOW)


def refused(feature: str = FEATURE, **later: float) -> str:
    """The reason given; require_feature and refusal must agree."""
    now = NOW + timedelta(**later)
    reason = refusal(feature, now=now)
    if not reason:
        require_feature(feature, now=now)
        return ""
    with pytest.raises(FeatureNotLicensed) as caught:
        require_feature(feature, now=now)
    assert (caught.value.feature, caught.value.reason, str(caught.value)) == (feature, reason, reason)
    return reason


def test_nothing_is_allowed_without_a_licence(issuer_key: Ed25519PrivateKey) -> None:
    assert refused() == "No licence is installed."


def test_an_installed_licence_allows_what_it_names_at_once(issue: Issue) -> None:
    assert refused()
    install(issue())
    assert refused() == ""
    assert refused("source:pkcs11") == "The licence of Contoso does not include it (source:pkcs11)."
    status = current(now=NOW)
    assert (status.customer, status.features, status.in_force) == ("Contoso", frozenset({FEATURE}), True)


def test_a_licence_ends_at_its_last_moment(issue: Issue) -> None:
    install(issue(lasts=timedelta(hours=2)))
    assert refused(minutes=59, seconds=59) == ""
    assert refused(hours=1) == "The licence of Contoso ended on 14 March 2026, 10:26 UTC."
    status = current(now=NOW + timedelta(hours=1))
    assert (status.in_force, status.features, status.customer) == (False, frozenset(), "Contoso")


def test_a_clock_before_the_start_is_refused(issue: Issue) -> None:
    install(issue())
    assert refused(hours=-2).startswith("The licence of Contoso starts on")


def test_the_one_installed_last_is_in_force_and_an_older_one_never_comes_back(issue: Issue) -> None:
    install(issue())
    install(issue(["source:pkcs11"], lasts=timedelta(hours=2)))
    assert refused().endswith("does not include it (source:azure_managed_hsm).")
    assert refused("source:pkcs11") == ""
    assert refused(days=1).startswith("The licence of Contoso ended")


@pytest.mark.parametrize("times", [{"lasts": timedelta(minutes=5)}, {"starts": NOW + timedelta(days=1)}])
def test_a_licence_outside_its_dates_is_not_installed(issue: Issue, times: dict[str, Any]) -> None:
    with pytest.raises(LicenceError, match=r"ended on|starts on"):
        install(issue(**times))
    assert not Licence.objects.exists()
    assert not AuditRecord.objects.exists()


def test_a_licence_of_another_issuer_is_not_installed(issue: Issue) -> None:
    with pytest.raises(LicenceError, match="issuer"):
        install(issue(key=Ed25519PrivateKey.generate()))
    assert not Licence.objects.exists()


def test_installing_is_on_record(issue: Issue) -> None:
    licence = install(issue())
    record = AuditRecord.objects.get()
    assert (record.action, record.subject_id, record.actor_name) == (
        "licence.installed",
        str(licence.pk),
        "tests",
    )
    assert record.details["features"] == [FEATURE]
    assert licence.token not in json.dumps(record.details)


EDITS: list[Callable[[Licence], object]] = [
    lambda licence: setattr(licence, "features", ["source:pkcs11"]),
    lambda licence: setattr(licence, "not_after", NOW + timedelta(days=999)),
    lambda licence: setattr(licence, "customer", "Somebody"),
]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_row_changes_nothing(issue: Issue, edit: Callable[[Licence], object]) -> None:
    licence = install(issue())
    edit(licence)
    licence.save()
    assert refused("source:pkcs11")
    assert refused(days=31)
    assert current(now=NOW).customer == "Contoso"


def test_an_edited_token_stops_everything(issue: Issue) -> None:
    licence = install(issue())
    assert refused() == ""
    body, _dot, signature = licence.token.rpartition(".")
    other = "B" if signature[0] == "A" else "A"
    Licence.objects.update(token=f"{body}.{other}{signature[1:]}")
    assert refused().startswith("The installed licence cannot be used. The licence's signature")


def test_a_removed_row_and_a_withdrawn_issuer_count_at_once(
    issue: Issue, settings: Settings, tmp_path: Path
) -> None:
    install(issue())
    assert refused() == ""
    replacement = tmp_path / "replacement.pem"
    replacement.write_text(pem(Ed25519PrivateKey.generate()))
    os.replace(replacement, settings.LICENCE_ISSUER_KEYS_FILE)
    assert "issuer is not known" in refused()
    settings.LICENCE_ISSUER_KEYS_FILE = ""
    assert "KEYMANAGER_LICENCE_ISSUER_KEYS_FILE" in refused()
    settings.LICENCE_ISSUER_KEYS_FILE = str(tmp_path / "gone.pem")
    assert "cannot be read" in refused()
    Licence.objects.all().delete()
    assert refused() == "No licence is installed."


def test_every_answer_is_one_query(issue: Issue, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    install(issue())
    with django_assert_num_queries(2):
        require_feature(FEATURE, now=NOW)
        require_feature(FEATURE, now=NOW)
    with django_assert_num_queries(1):
        status = current(now=NOW)
        assert [bool(refusal_in(status, name)) for name in (FEATURE, "source:pkcs11")] == [False, True]


# --- Commands -----------------------------------------------------------------------------------------


def test_from_issuer_to_installation_by_command(settings: Settings, tmp_path: Path) -> None:
    out = StringIO()
    call_command("make_licence", out=tmp_path / "issuer", customer="Contoso", days=30, stdout=out)
    settings.LICENCE_ISSUER_KEYS_FILE = str(tmp_path / "issuer" / "issuer-public.pem")
    call_command("install_licence", tmp_path / "issuer" / "licence.jws", stdout=out)
    licence = Licence.objects.get()
    assert (licence.customer, licence.features, licence.installed_by) == (
        "Contoso",
        [FEATURE],
        "install_licence",
    )
    assert (licence.not_after - licence.not_before).days == 30
    assert (tmp_path / "issuer" / "issuer-private.pem").stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in out.getvalue()


def test_a_second_licence_is_signed_with_the_same_issuer_key(settings: Settings, tmp_path: Path) -> None:
    call_command("make_licence", out=tmp_path, stdout=StringIO())
    public = (tmp_path / "issuer-public.pem").read_text()
    features = [FEATURE, "source:pkcs11"]
    call_command("make_licence", out=tmp_path, features=features, stdout=StringIO())
    assert (tmp_path / "issuer-public.pem").read_text() == public
    settings.LICENCE_ISSUER_KEYS_FILE = str(tmp_path / "issuer-public.pem")
    call_command("install_licence", tmp_path / "licence.jws", stdout=StringIO())
    assert Licence.objects.get().features == features


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff\xfe"])
def test_a_file_that_is_no_licence_is_refused(
    issuer_key: Ed25519PrivateKey, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "licence.jws").write_bytes(content)
    with pytest.raises(CommandError, match="licence"):
        call_command("install_licence", tmp_path / "licence.jws")
    with pytest.raises(CommandError, match="licence"):
        call_command("install_licence", tmp_path / "missing.jws")


def test_a_damaged_issuer_key_is_named_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "issuer-private.pem").write_text("canary")
    with pytest.raises(CommandError, match=r"issuer-private\.pem is not a private key") as caught:
        call_command("make_licence", out=tmp_path)
    assert "canary" not in repr(caught.value)
