"""After a migration the groups hold exactly the permissions that keymanager.roles names."""

import pytest
from django.contrib.auth.models import Group

from keymanager.roles import ROLES


@pytest.mark.django_db
@pytest.mark.parametrize("role", sorted(ROLES))
def test_group_holds_exactly_the_roles_permissions(role: str) -> None:
    held = Group.objects.get(name=role).permissions.values_list("content_type__app_label", "codename")
    assert {f"{app}.{codename}" for app, codename in held} == ROLES[role]
