"""Sources, keys and operations as rows, for the tests of the front page. Nothing here reaches an HSM."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.utils import timezone

from cryptosources.models import ConnectionTest, CryptoSource
from keymanager.roles import sync_roles
from keys import lifecycle
from keys.lifecycle import OperationKind, OperationState
from keys.models import KeyOperation, KeyUse, ManagedKey

FAILED_STEP = {
    "name": "token",
    "label": "Sign in",
    "outcome": "failed",
    "detail": "Entra refused the client secret.",
    "remedy": "Copy the secret's value, not its id.",
}


def person(role: str) -> User:
    sync_roles()
    user = User.objects.create_user(f"the-{role}", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user


def make_source(
    name: str = "Contoso", *, days: int | None = 400, active: bool = True, healthy: bool | None = True
) -> CryptoSource:
    """An in-memory source whose Key ends so many days from today; ``healthy`` None: never tested."""
    source = CryptoSource.objects.create(
        friendly_name=name,
        kind="memory",
        status="active" if active else "inactive",
        secret_expires_on=None if days is None else timezone.localdate() + timedelta(days=days),
    )
    if healthy is not None:
        make_test(source, healthy=healthy)
    return source


def make_test(source: CryptoSource, *, healthy: bool, ago: timedelta = timedelta(hours=1)) -> ConnectionTest:
    """A connection test that came to its end so long ago."""
    at = timezone.now() - ago
    return ConnectionTest.objects.create(
        source=source,
        source_revision=source.revision,
        state="finished",
        healthy=healthy,
        steps=[] if healthy else [FAILED_STEP],
        requested_by="ada",
        created_at=at,
        sent_at=at,
        finished_at=at,
    )


def make_keys(
    source: CryptoSource, count: int = 1, *, prefix: str = "seal", **values: Any
) -> list[ManagedKey]:
    now = timezone.now()
    defaults = {"algorithm": "EC-P-256", "residency": "resident", "created_by": "ada"}
    return ManagedKey.objects.bulk_create(
        ManagedKey(
            source=source,
            name=f"{prefix}-{number}",
            created_at=now,
            updated_at=now,
            **defaults | values,
        )
        for number in range(count)
    )


def operation(key: ManagedKey, kind: str, state: str, **values: Any) -> KeyOperation:
    """An operation, not yet stored; one that has ended did so a minute ago."""
    now = timezone.now()
    steps = [str(step) for step in lifecycle.steps(OperationKind(kind), backed_up=False)]
    ended = state in (OperationState.SUCCEEDED, OperationState.FAILED)
    defaults: dict[str, Any] = {
        "exclusive": False,
        "steps": steps,
        "step": steps[0],
        "due_at": now,
        "actor_kind": "person",
        "actor_identifier": "1",
        "actor_name": "ada",
        "requested_at": now - timedelta(minutes=2),
        "finished_at": now - timedelta(minutes=1) if ended else None,
        "error": "The HSM did not answer." if state == OperationState.FAILED else "",
    }
    return KeyOperation(key=key, kind=kind, state=state, **defaults | values)


def make_operation(key: ManagedKey, kind: str, state: str, **values: Any) -> KeyOperation:
    made = operation(key, kind, state, **values)
    made.save(force_insert=True)
    return made


def day_ago(days: int, *, now: datetime | None = None) -> date:
    """The day (UTC) so many days before today."""
    return (now or timezone.now()).astimezone(UTC).date() - timedelta(days=days)


def make_use(key: ManagedKey, counts: dict[int, int]) -> None:
    """Signatures by how many days ago they were made."""
    KeyUse.objects.bulk_create(
        KeyUse(key=key, day=day_ago(ago), signatures=count) for ago, count in counts.items()
    )
