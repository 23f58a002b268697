"""People of the four roles, signed in; keys of an in-memory source; a worker that runs in the test."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from keymanager.roles import sync_roles
from keys.lifecycle import OperationKind
from keys.models import KeyOperation, ManagedKey
from tests.conftest import Clock
from tests.keys.conftest import (  # noqa: F401  (fixtures)
    _no_broker,
    backed_up,
    do,
    hsm,
    new_key,
    run,
    source,
)

SignIn = Callable[..., Client]
NewKey = Callable[..., ManagedKey]
Do = Callable[[ManagedKey, OperationKind], KeyOperation]


@pytest.fixture
def clock() -> Clock:
    """The worker's clock starts now: the pages look at the real one."""
    return Clock(timezone.now())


@pytest.fixture
def sign_in(db: None) -> SignIn:
    """A browser with a person of that role signed in."""

    def signed_in(role: str, **options: Any) -> Client:
        sync_roles()
        user = User.objects.create_user(f"the-{role}", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        client = Client(**options)
        client.force_login(user)
        return client

    return signed_in


@pytest.fixture
def operator(sign_in: SignIn) -> Client:
    return sign_in("operator")


def text_of(answer: Any) -> str:
    """A page's text; AssertionError unless it came as a page should."""
    assert isinstance(answer, HttpResponse)
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def error_at(page: str, field: str) -> str:
    """What the page says is wrong with that field."""
    found = re.search(rf'id="id_{field}_error">(.*?)</div>', page, flags=re.DOTALL)
    assert found, f"no error at {field}"
    return unescape(re.sub(r"<[^>]+>", " ", found[1]))


def key_url(key: ManagedKey, part: str = "") -> str:
    return f"/keys/managedkey/{key.pk}/{part}"


def operation_url(operation: KeyOperation, part: str = "") -> str:
    return f"/keys/keyoperation/{operation.pk}/{part}"


def asked(answer: Any) -> KeyOperation:
    """The operation that an answer leads to; AssertionError when it leads elsewhere."""
    assert answer.status_code == 302
    operation = KeyOperation.objects.get(pk=answer["Location"].rstrip("/").rpartition("/")[2])
    assert answer["Location"] == operation_url(operation)
    return operation
