"""Every rule of the form, asked of the one place that holds them."""

import uuid
from typing import Any

import pytest

from cryptosources.errors import InvalidSource
from cryptosources.models import CryptoSource
from cryptosources.rules import Columns, check, seconds_advice
from secretstore.secret import Secret
from tests.cryptosources.certificates import PRIVATE_KEY_PEM, certificate
from tests.cryptosources.factories import APPLICATION, TENANT, TOKEN_URL, azure_settings, memory_settings

KEEP = {"backup_restore": True, "keep_after_signing": True}


def problems(existing: CryptoSource | None = None, /, **changes: Any) -> dict[str, list[str]]:
    try:
        check(azure_settings(**changes), existing=existing)
    except InvalidSource as refused:
        return refused.problems
    return {}


def checked(**changes: Any) -> Columns:
    return check(azure_settings(**changes), existing=None)


def stored() -> CryptoSource:
    """The factory's Azure source as if it were in the database."""
    return CryptoSource(**dict(checked().items()))


def test_the_usual_settings_pass() -> None:
    assert checked().dns_name == "https://contoso.managedhsm.azure.net"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("friendly_name", "", "Enter a Friendly Name"),
        ("friendly_name", " \t ", "Enter a Friendly Name"),
        ("friendly_name", "x" * 101, "at most 100 characters"),
        ("friendly_name", "Contoso\u202eHSM", "cannot be shown"),
        ("dns_name", "", "Enter the DNS Name"),
        ("dns_name", "http://contoso.managedhsm.azure.net", "https://"),
        ("dns_name", "10.0.0.1", "IP address"),
        ("dns_name", "[::1]", "IP address"),
        ("dns_name", "evil.example.com", "allowed"),
        ("dns_name", "managedhsm.azure.net.evil.example", "allowed"),
        ("dns_name", "https://user@contoso.managedhsm.azure.net", "user name"),
        ("dns_name", "https://contoso.managedhsm.azure.net?x=1", "query"),
        ("dns_name", "localhost", "this machine itself"),
        ("token_endpoint", "", "Enter the token URL"),
        ("token_endpoint", f"https://evil.example/{TENANT}/oauth2/token", "allowed"),
        ("token_endpoint", "https://login.microsoftonline.com/common/oauth2/token", "any tenant"),
        ("token_endpoint", f"http://login.microsoftonline.com/{TENANT}/oauth2/token", "https://"),
        ("application_id", "", "GUID"),
        ("application_id", "not-a-guid", "GUID"),
        ("application_id", "{11111111-2222-3333-4444-555555555555}", "GUID"),
        ("application_id", "11111111222233334444555555555555", "GUID"),
        ("key", None, "Enter the Key"),
        ("key", Secret("x" * 1001), "at most 1000"),
        ("sign_in_method", "password", "not available"),
        ("trusted_roots", "nonsense", "PEM"),
        ("trusted_roots", PRIVATE_KEY_PEM, "private key"),
    ],
)
def test_a_bad_value_is_a_problem_of_its_field_alone(field: str, value: object, words: str) -> None:
    changes: dict[str, Any] = {field: value}
    found = problems(**changes)
    assert list(found) == [field]
    assert words in found[field][0]


@pytest.mark.parametrize(
    ("entered", "stored_as"),
    [
        ("contoso.managedhsm.azure.net", "https://contoso.managedhsm.azure.net"),
        ("HTTPS://Contoso.ManagedHSM.Azure.Net/", "https://contoso.managedhsm.azure.net"),
        (" https://contoso.managedhsm.azure.net:443 ", "https://contoso.managedhsm.azure.net"),
        ("gov.managedhsm.usgovcloudapi.net", "https://gov.managedhsm.usgovcloudapi.net"),
        ("china.managedhsm.azure.cn", "https://china.managedhsm.azure.cn"),
    ],
)
def test_an_address_is_stored_as_a_base_url(entered: str, stored_as: str) -> None:
    assert checked(dns_name=entered).dns_name == stored_as


@pytest.mark.parametrize(
    "url",
    [
        f"https://login.microsoftonline.com/{TENANT}/oauth2/token",
        f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token",
        f"https://login.microsoftonline.us/{TENANT}/oauth2/v2.0/token",
        f"https://login.chinacloudapi.cn/{TENANT}/oauth2/token",
        "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token",
    ],
)
def test_token_urls_of_every_cloud_and_version_pass(url: str) -> None:
    assert checked(token_endpoint=url).token_endpoint == url


def test_names_and_ids_are_tidied() -> None:
    columns = checked(friendly_name="  Contoso   HSM ", application_id=f" {APPLICATION.upper()} ")
    assert columns.friendly_name == "Contoso HSM"
    assert columns.application_id == uuid.UUID(APPLICATION)


# --- Fields that depend on a checkbox ---------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"keep_after_signing": True, "remove_after_seconds": 600}, "keep_after_signing"),
        ({"remove_after_seconds": 600}, "remove_after_seconds"),
        ({"backup_restore": True, "remove_after_seconds": 600}, "remove_after_seconds"),
        (KEEP, "remove_after_seconds"),
        (KEEP | {"remove_after_seconds": 0}, "remove_after_seconds"),
        (KEEP | {"remove_after_seconds": -1}, "remove_after_seconds"),
        (KEEP | {"remove_after_seconds": 2**31}, "remove_after_seconds"),
    ],
)
def test_a_value_without_its_checkbox_or_out_of_bounds_is_an_error(
    changes: dict[str, Any], field: str
) -> None:
    assert field in problems(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"backup_restore": True},
        KEEP | {"remove_after_seconds": 1},
        KEEP | {"remove_after_seconds": 86_400},
    ],
)
def test_checkboxes_in_their_order_pass(changes: dict[str, Any]) -> None:
    assert problems(**changes) == {}


@pytest.mark.parametrize(
    ("seconds", "warned"), [(1, 1), (59, 1), (60, 0), (86_400, 0), (86_401, 1), (None, 0)]
)
def test_unusual_seconds_are_warned_about_and_not_refused(seconds: int | None, warned: int) -> None:
    assert len(seconds_advice(seconds)) == warned


# --- The Key goes only where it was entered for --------------------------------------------------


def test_an_edit_keeps_the_key() -> None:
    assert problems(stored(), key=None, friendly_name="Another name", backup_restore=True) == {}


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"dns_name": "fabrikam.managedhsm.azure.net"}, "DNS Name"),
        ({"token_endpoint": TOKEN_URL.replace("6bab", "7bab")}, "Endpoint OAuth 2.0 Token"),
        ({"application_id": str(uuid.UUID(int=7))}, "Application ID"),
        ({"trusted_roots": certificate()}, "Trusted root certificates"),
    ],
)
def test_an_edit_that_aims_the_key_elsewhere_needs_it_again(changes: dict[str, Any], label: str) -> None:
    found = problems(stored(), key=None, **changes)
    assert list(found) == ["key"]
    assert label in found["key"][0]
    assert problems(stored(), **changes) == {}


def test_the_same_address_in_other_words_needs_no_key() -> None:
    assert problems(stored(), key=None, dns_name="https://CONTOSO.managedhsm.azure.net/") == {}


def test_the_type_stays() -> None:
    with pytest.raises(InvalidSource) as refused:
        check(memory_settings(), existing=stored())
    assert list(refused.value.problems) == ["kind"]


# --- Trusted root certificates ---------------------------------------------------------------------


def test_roots_are_kept_once_each_without_what_is_around_them() -> None:
    first, second = certificate("One"), certificate("Two")
    kept = checked(trusted_roots=f"# our roots\n{first}\n\n{second}{first}").trusted_roots
    assert kept == first + second


def test_a_servers_certificate_is_no_root() -> None:
    found = problems(trusted_roots=certificate("hsm.contoso.example", authority=False))
    assert "CN=hsm.contoso.example" in found["trusted_roots"][0]


def test_all_problems_are_told_at_once() -> None:
    assert set(
        problems(friendly_name="", dns_name="", application_id="x", key=None, remove_after_seconds=5)
    ) == {
        "friendly_name",
        "dns_name",
        "application_id",
        "key",
        "remove_after_seconds",
    }


def test_a_refusal_shows_no_key() -> None:
    with pytest.raises(InvalidSource) as refused:
        checked(key=Secret("hunter2" * 200))
    assert "hunter2" not in repr(refused.value) + str(refused.value.problems)
