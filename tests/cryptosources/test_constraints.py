"""The rules in the database itself: raw writes, past form and services."""

import pytest
from django.db import DataError, IntegrityError, transaction

from cryptosources.models import ConnectionTest, CryptoSource
from tests.cryptosources.factories import NOW, azure_settings, make_source

pytestmark = pytest.mark.django_db


@pytest.fixture
def source(licensed: None) -> CryptoSource:
    return make_source(azure_settings())


def write(source: CryptoSource, **values: object) -> None:
    with transaction.atomic():
        CryptoSource.objects.filter(pk=source.pk).update(**values)


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("source_friendly_name_given", {"friendly_name": ""}),
        ("source_friendly_name_given", {"friendly_name": "   "}),
        ("source_kind_known", {"kind": "aws_cloudhsm"}),
        ("source_status_known", {"status": "paused"}),
        ("source_sign_in_method_known", {"sign_in_method": "password"}),
        ("source_azure_complete", {"dns_name": ""}),
        ("source_azure_complete", {"dns_name": "http://contoso.managedhsm.azure.net"}),
        ("source_azure_complete", {"token_endpoint": ""}),
        ("source_azure_complete", {"application_id": None}),
        ("source_azure_complete", {"sealed_secret": None}),
        ("source_azure_complete", {"secret_expires_on": None}),
        ("source_keep_needs_backup", {"keep_after_signing": True, "remove_after_seconds": 60}),
        ("source_seconds_go_with_keep", {"remove_after_seconds": 60}),
        ("source_seconds_go_with_keep", {"backup_restore": True, "remove_after_seconds": 60}),
        ("source_seconds_go_with_keep", {"backup_restore": True, "keep_after_signing": True}),
        (
            "source_seconds_go_with_keep",
            {"backup_restore": True, "keep_after_signing": True, "remove_after_seconds": 0},
        ),
        ("source_revision_positive", {"revision": 0}),
    ],
)
def test_the_database_refuses(source: CryptoSource, constraint: str, values: dict[str, object]) -> None:
    with pytest.raises(IntegrityError) as refused:
        write(source, **values)
    assert constraint in str(refused.value)


def test_a_longer_wait_than_a_column_holds_is_refused(source: CryptoSource) -> None:
    with pytest.raises((IntegrityError, DataError, OverflowError)):
        write(source, backup_restore=True, keep_after_signing=True, remove_after_seconds=2**31)


def test_the_database_accepts_what_the_form_accepts(source: CryptoSource) -> None:
    write(source, backup_restore=True, keep_after_signing=True, remove_after_seconds=1)


def test_friendly_names_are_unique_without_regard_to_case(source: CryptoSource) -> None:
    other = make_source(azure_settings("Another"))
    with pytest.raises(IntegrityError, match="source_friendly_name_unique"):
        write(other, friendly_name="CONTOSO hsm")


def test_a_key_in_clear_is_refused_by_its_column(source: CryptoSource) -> None:
    with pytest.raises(ValueError, match="sealed values only"):
        write(source, sealed_secret=b"in clear")


def test_one_test_is_under_way_at_a_time(source: CryptoSource) -> None:
    source.tests.create(requested_by="ada", created_at=NOW, sent_at=NOW)
    with pytest.raises(IntegrityError), transaction.atomic():
        source.tests.create(requested_by="bob", created_at=NOW, sent_at=NOW)


@pytest.mark.parametrize(
    "values",
    [
        {"state": "running"},
        {"state": "finished", "finished_at": NOW},
        {"state": "finished", "healthy": True},
        {"state": "failed", "finished_at": NOW},
        {"state": "lost", "finished_at": NOW},
    ],
)
def test_a_test_says_what_its_state_needs(source: CryptoSource, values: dict[str, object]) -> None:
    test = source.tests.create(requested_by="ada", created_at=NOW, sent_at=NOW)
    with pytest.raises(IntegrityError, match="connectiontest_state_consistent"), transaction.atomic():
        ConnectionTest.objects.filter(pk=test.pk).update(**values)
