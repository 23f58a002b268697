"""Dates, enabled state and tags on the pages: asked for, changed, shown, obeyed."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from cryptosources.models import CryptoSource
from keys.models import KeyOperation, ManagedKey
from tests.keys.conftest import Run
from tests.keys_pages.conftest import NewKey, SignIn, asked, error_at, key_url, text_of
from tests.ui.markup import parse

ADD = "/keys/managedkey/add/"


def _moment(at: datetime) -> str:
    return timezone.localtime(at).strftime("%Y-%m-%dT%H:%M")


def _minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def test_a_key_is_generated_with_dates_and_tags_and_shows_them(
    operator: Client, source: CryptoSource, run: Run
) -> None:
    start, end = timezone.now() - timedelta(days=1), timezone.now() + timedelta(days=12, hours=1)
    entered = {
        "source": str(source.pk),
        "name": "seal-1",
        "algorithm": "EC-P-256",
        "not_before": _moment(start),
        "expires_at": _moment(end),
        "tags": "department=seals\r\nnote=a=b",
    }
    key = run(asked(operator.post(ADD, entered))).key
    assert (key.not_before, key.expires_at) == (_minute(start), _minute(end))
    assert key.tags == {"department": "seals", "note": "a=b"}
    page = text_of(operator.get(key_url(key)))
    for told in ("expires in 12 days", "department=seals", "note=a=b"):
        assert told in page


@pytest.mark.parametrize("zone", ["Europe/Vienna", "America/New_York", "UTC"])
@pytest.mark.parametrize("value", ["0001-01-01T00:00", "1969-12-31T23:59", "9999-12-31T23:59"])
def test_the_ends_of_the_calendar_are_refused_in_every_time_zone(
    operator: Client, new_key: NewKey, settings: Settings, zone: str, value: str
) -> None:
    key = new_key()
    settings.TIME_ZONE = zone
    page = text_of(operator.post(key_url(key, "update/"), {"enabled": "on", "not_before": value}))
    assert "Give a year from 2000 to 2999" in error_at(page, "not_before")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("tags", "no equals sign", "name=value"),
        ("tags", "keymanager-key=x", "kept for this console"),
        ("not_before", "tomorrow", "Give a day and a time"),
        ("not_before", "0001-01-01T00:00", "Give a year from 2000 to 2999"),
        ("expires_at", "9999-12-31T23:59", "Give a year from 2000 to 2999"),
        ("expires_at", "2020-01-01T00:00", "This is past"),
    ],
)
def test_errors_stand_at_their_field_and_nothing_is_made(
    operator: Client, source: CryptoSource, field: str, value: str, told: str
) -> None:
    entered = {"source": str(source.pk), "name": "seal-1", "algorithm": "EC-P-256", field: value}
    assert told in error_at(text_of(operator.post(ADD, entered)), field)
    assert not ManagedKey.objects.exists()


def test_an_end_before_the_beginning_is_told_at_the_end(operator: Client, source: CryptoSource) -> None:
    now = timezone.now()
    entered = {
        "source": str(source.pk),
        "name": "seal-1",
        "algorithm": "EC-P-256",
        "not_before": _moment(now + timedelta(days=2)),
        "expires_at": _moment(now + timedelta(days=1)),
    }
    assert "later than" in error_at(text_of(operator.post(ADD, entered)), "expires_at")


def test_validity_and_tags_are_changed_on_a_page_of_their_own(
    operator: Client, new_key: NewKey, run: Run
) -> None:
    key = new_key()
    page = text_of(operator.get(key_url(key)))
    assert f'href="{key_url(key, "update/")}"' in page
    form = parse(text_of(operator.get(key_url(key, "update/"))))
    assert form.by_id("id_enabled").get("checked") is not None
    operation = asked(operator.post(key_url(key, "update/"), {"tags": "a=b"}))
    told = text_of(operator.get(f"/keys/keyoperation/{operation.pk}/"))
    assert "disabled, no end, tags a=b" in told
    key = run(operation).key
    assert (key.enabled, key.tags) == (False, {"a": "b"})
    page = text_of(operator.get(key_url(key)))
    assert "This key signs nothing now." in page
    assert "The key is disabled" in text_of(operator.get(key_url(key, "sign/")))


def test_the_form_keeps_the_seconds_that_a_browser_does_not_ask_for(
    operator: Client, new_key: NewKey, run: Run
) -> None:
    key = new_key()
    end = (timezone.now() + timedelta(days=3)).replace(second=42, microsecond=0)
    ManagedKey.objects.filter(pk=key.pk).update(expires_at=end)
    form = parse(text_of(operator.get(key_url(key, "update/"))))
    shown = form.by_id("id_expires_at").get("value")
    assert shown == _moment(end)
    changed = run(asked(operator.post(key_url(key, "update/"), {"enabled": "on", "expires_at": shown}))).key
    assert changed.expires_at == end


def test_a_key_out_of_use_refuses_a_signature_with_the_reason(operator: Client, new_key: NewKey) -> None:
    key = new_key()
    ManagedKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(days=1))
    digest = {"what": "digest", "digest": "00" * 32, "algorithm": "ES256"}
    page = text_of(operator.post(key_url(key, "sign/"), digest))
    assert "expired at" in page
    assert not KeyOperation.objects.filter(kind="sign").exists()


@pytest.mark.parametrize("role", ["auditor", "ops"])
def test_only_operators_change_validity(sign_in: SignIn, new_key: NewKey, role: str) -> None:
    key = new_key()
    client = sign_in(role)
    assert client.get(key_url(key, "update/")).status_code == 403
    assert client.post(key_url(key, "update/"), {}).status_code == 403
    assert not KeyOperation.objects.filter(kind="update").exists()


# --- Each date once, and what a rotation does to them -----------------------------------------------

START, END = datetime(2026, 2, 3, 12, 0, tzinfo=UTC), datetime(2099, 12, 10, 12, 0, tzinfo=UTC)


def _dated(key: ManagedKey) -> ManagedKey:
    ManagedKey.objects.filter(pk=key.pk).update(not_before=START, expires_at=END)
    return key


def _fact(page: str, label: str) -> str:
    """What stands beside that label, without markup."""
    found = re.search(rf"<dt>{label}</dt><dd>(.*?)</dd>", page, flags=re.DOTALL)
    assert found, f"no {label}"
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).split())


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        (None, END, "until 10 Dec 2099, 12:00"),
        (START, END, "from 3 Feb 2026, 12:00, until 10 Dec 2099, 12:00"),
        (END, None, "not yet valid from 10 Dec 2099, 12:00"),
        (None, START, "expired until 3 Feb 2026, 12:00"),
        (None, None, "no end"),
    ],
)
def test_a_keys_page_tells_each_date_once(
    operator: Client, new_key: NewKey, start: datetime | None, end: datetime | None, told: str
) -> None:
    key = new_key()
    ManagedKey.objects.filter(pk=key.pk).update(not_before=start, expires_at=end)
    assert _fact(text_of(operator.get(key_url(key))), "Validity") == told


def test_a_rotation_says_before_that_it_drops_the_dates(operator: Client, new_key: NewKey) -> None:
    key = new_key()
    page = text_of(operator.get(key_url(key, "rotate/")))
    assert _fact(page, "Validity") == "no end"
    assert "The new version has no dates" not in page
    page = text_of(operator.get(key_url(_dated(key), "rotate/")))
    assert _fact(page, "Validity") == "from 3 Feb 2026, 12:00, until 10 Dec 2099, 12:00"
    notice = page.partition("message-warning")[2].partition("</section>")[0]
    assert "The new version has no dates." in notice
    assert "from 3 Feb 2026, 12:00, until 10 Dec 2099, 12:00" in notice
    assert "The new version has no dates" not in text_of(operator.get(key_url(key, "delete/")))


def test_a_rotation_says_afterwards_that_it_dropped_the_dates(
    operator: Client, sign_in: SignIn, new_key: NewKey, run: Run
) -> None:
    key = _dated(new_key())
    operation = run(asked(operator.post(key_url(key, "rotate/"))))
    address = f"/keys/keyoperation/{operation.pk}/"
    page = text_of(operator.get(address))
    assert "The new version has no dates." in page
    assert "until 10 Dec 2099, 12:00" in page
    link = f'href="{key_url(key, "update/")}">Change validity and tags</a>'
    assert link in page
    assert link not in text_of(sign_in("auditor").get(address))
    ManagedKey.objects.filter(pk=key.pk).update(expires_at=END)
    assert "The new version has no dates." not in text_of(operator.get(address))


def test_a_rotation_of_a_key_without_dates_says_nothing_of_them(
    operator: Client, new_key: NewKey, run: Run
) -> None:
    operation = run(asked(operator.post(key_url(new_key(), "rotate/"))))
    page = text_of(operator.get(f"/keys/keyoperation/{operation.pk}/"))
    assert operation.state == "succeeded"
    assert "no dates" not in page
