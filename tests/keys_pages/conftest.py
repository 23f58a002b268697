"""People of the four roles, signed in, and keys of an in-memory source."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from keymanager.roles import sync_roles
from tests.keys.conftest import (  # noqa: F401  (fixtures)
    _no_broker,
    backed_up,
    do,
    hsm,
    new_key,
    run,
    source,
)

SignIn = Callable[[str], Client]


@pytest.fixture
def sign_in(db: None) -> SignIn:
    """A browser with a person of that role signed in."""

    def signed_in(role: str) -> Client:
        sync_roles()
        user = User.objects.create_user(f"the-{role}", password=None, is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        client = Client()
        client.force_login(user)
        return client

    return signed_in


@pytest.fixture
def operator(sign_in: SignIn) -> Client:
    return sign_in("operator")
