"""The page that generates a key."""

import re
from html import unescape

import pytest
from django.test import Client

from cryptosources.models import CryptoSource, SourceStatus
from cryptosources.providers.algorithms import KeyAlgorithm
from keys import wording
from keys.lifecycle import Residency
from keys.models import ManagedKey
from licensing.services import FeatureNotLicensed
from tests.keys.conftest import Run
from tests.keys_pages.conftest import NewKey, asked, error_at, key_url, text_of
from tests.ui.markup import parse

ADD = "/keys/managedkey/add/"


def _entered(chosen: CryptoSource, /, **changes: str) -> dict[str, str]:
    return {"source": str(chosen.pk), "name": "seal-1", "algorithm": "RSA-3072"} | changes


def test_generating_leads_to_the_operation_and_then_to_the_key(
    operator: Client, source: CryptoSource, run: Run
) -> None:
    operation = asked(operator.post(ADD, _entered(source)))
    assert "Create the key in the HSM" in text_of(operator.get(f"/keys/keyoperation/{operation.pk}/"))
    key = run(operation).key
    assert (key.where, key.created_by) == (Residency.RESIDENT, "the-operator")
    page = text_of(operator.get(key_url(key)))
    assert "RSA-HSM 3072" in page
    assert "-----BEGIN PUBLIC KEY-----" in page


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_every_key_type_is_offered_under_the_hsms_name(
    operator: Client, source: CryptoSource, algorithm: KeyAlgorithm
) -> None:
    options = {option.get("value"): option.text for option in parse(text_of(operator.get(ADD))).all("option")}
    size = algorithm.value.partition("-")[2]
    assert options[algorithm.value] == f"{'RSA' if algorithm.is_rsa else 'EC'}-HSM {size}"
    assert wording.key_type(algorithm) == options[algorithm.value]


def test_sources_that_cannot_be_used_are_greyed_with_the_reason(
    operator: Client, source: CryptoSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    CryptoSource.objects.create(friendly_name="Sleeping", kind="memory")
    options = {option.text: option for option in parse(text_of(operator.get(ADD))).all("option")}
    assert options["Vault A"].get("disabled") is None
    assert options["Sleeping (Inactive)"].get("disabled") is not None
    monkeypatch.setattr("keys.forms.licence_refusal", lambda *, kind, now: "The licence ended.")
    page = text_of(operator.get(ADD))
    assert "Vault A (not licensed)" in page


def test_the_only_usable_source_and_the_one_in_the_address_are_chosen(
    operator: Client, source: CryptoSource
) -> None:
    other = CryptoSource.objects.create(friendly_name="Other", kind="memory")
    assert _chosen(text_of(operator.get(ADD))) == str(source.pk)
    assert _chosen(text_of(operator.get(f"{ADD}?source={other.pk}"))) == str(other.pk)
    assert text_of(operator.get(f"{ADD}?source=nonsense"))


def _chosen(page: str) -> str | None:
    return next((o.get("value") for o in parse(page).all("option") if o.get("selected") is not None), None)


def test_the_page_says_what_each_sources_backup_mode_will_do(
    operator: Client, backed_up: CryptoSource
) -> None:
    CryptoSource.objects.create(friendly_name="Plain", kind="memory", status=SourceStatus.ACTIVE)
    page = text_of(operator.get(ADD))
    assert "keeps a backup of every key" in page
    assert "keeps no backup by itself" in page
    assert "no import and no export" in page


@pytest.mark.parametrize("name", ["", "has space", "ünïcode", "a" * 128, "slash/y", "under_score"])
def test_a_name_against_the_hsms_rule_is_refused_at_its_field(
    operator: Client, source: CryptoSource, name: str
) -> None:
    page = text_of(operator.post(ADD, _entered(source, name=name)))
    assert parse(page).by_id("id_name_error")
    assert not ManagedKey.objects.exists()


def test_a_taken_name_is_refused_at_its_field_and_nothing_typed_is_lost(
    operator: Client, source: CryptoSource, new_key: NewKey
) -> None:
    new_key("seal-1")
    page = text_of(operator.post(ADD, _entered(source, name="SEAL-1", algorithm="EC-P-384")))
    markup = parse(page)
    assert "already has a key of that name" in page
    assert markup.by_id("id_name_error")
    assert markup.by_id("id_name").get("value") == "SEAL-1"
    assert [o.get("value") for o in markup.all("option") if o.get("selected") is not None] == [
        str(source.pk),
        "EC-P-384",
    ]


def test_a_source_made_inactive_meanwhile_is_refused_at_its_field(
    operator: Client, source: CryptoSource
) -> None:
    CryptoSource.objects.update(status=SourceStatus.INACTIVE)
    page = text_of(operator.post(ADD, _entered(source)))
    assert "is Inactive" in page
    assert parse(page).by_id("id_source_error")
    assert not ManagedKey.objects.exists()


def test_an_unlicensed_type_is_refused_at_its_field(
    operator: Client, source: CryptoSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise FeatureNotLicensed("source:memory", "The licence of Contoso ended on 1 March 2026.")

    monkeypatch.setattr("keys.services.requests.require_usable", refuse)
    page = text_of(operator.post(ADD, _entered(source)))
    assert "The licence of Contoso ended" in page
    assert parse(page).by_id("id_source_error")


@pytest.mark.parametrize("changes", [{"source": "nonsense"}, {"algorithm": "RSA-1024"}, {"algorithm": ""}])
def test_values_that_no_choice_offers_are_refused(
    operator: Client, source: CryptoSource, changes: dict[str, str]
) -> None:
    text_of(operator.post(ADD, _entered(source, **changes)))
    assert not ManagedKey.objects.exists()


def test_without_a_source_the_page_says_what_to_do_first(operator: Client) -> None:
    page = text_of(operator.get(ADD))
    assert "There is no crypto source yet" in page
    assert "/cryptosources/cryptosource/add/" in page


# --- Several errors at once ---------------------------------------------------------------------------


def _summary(page: str) -> list[str]:
    """The lines above the form."""
    told = page.partition("data-error-summary")[2].partition("</ul>")[0]
    return [
        " ".join(unescape(re.sub(r"<[^>]+>", "", line)).split()) for line in re.findall("<li>.*?</li>", told)
    ]


def test_errors_are_told_in_the_order_of_the_fields_and_in_plain_words(
    operator: Client, source: CryptoSource
) -> None:
    wrong = {
        "source": "",
        "name": "",
        "algorithm": "",
        "count": "501",
        "first": "-1",
        "digits": "10",
        "expires_at": "tomorrow",
        "tags": "seals",
    }
    assert _summary(text_of(operator.post(ADD, wrong))) == [
        "Crypto source: Choose a crypto source.",
        "Key type: Choose a key type.",
        "Name: Give a name.",
        "How many: Generate 1 to 500 keys at once.",
        "First number: Numbers start at 0 or above.",
        "Digits: Use 1 to 9 digits.",
        "Valid until: Give a day and a time, such as 2027-01-31T23:59.",
        "Tags: Line 1 is not of the form name=value.",
    ]


@pytest.mark.parametrize("name", ["has space", "a" * 128])
def test_a_bad_name_is_told_beside_a_bad_number(operator: Client, source: CryptoSource, name: str) -> None:
    assert _summary(text_of(operator.post(ADD, _entered(source, name=name, count="0")))) == [
        "Name: Use 1 to 127 letters, digits and hyphens.",
        "How many: Generate 1 to 500 keys at once.",
    ]


def test_every_wrong_line_of_the_tags_is_told(operator: Client, source: CryptoSource) -> None:
    tags = "seals\r\na=1\r\n=x\r\na=2\r\nkeymanager-key=1\r\nmore"
    told = error_at(text_of(operator.post(ADD, _entered(source, tags=tags))), "tags")
    for reason in ("Line 1 is", "has no name", "“a” comes twice", "kept for this console", "Line 6 is"):
        assert reason in told
