"""Connection tests that came to their end, for pages that show them."""

from typing import Final

from django.utils import timezone

from cryptosources.models import CryptoSource
from cryptosources.providers.azure import rights as azure_rights
from cryptosources.services import rights

OBJECT_ID: Final = "22222222-3333-4444-5555-666666666666"


def finish_test(source: CryptoSource, *missing: str, object_id: str = OBJECT_ID) -> None:
    """A finished test that found every right but the missing data actions."""

    def step(name: str, outcome: str, **more: object) -> dict[str, object]:
        plain = {"label": name, "detail": "detail", "code": "", "remedy": "", "duration_ms": 1}
        return {"name": name, "outcome": outcome, "facts": {}, **plain, **more}

    steps = [step("token", "passed", facts={"object_id": object_id} if object_id else {})]
    for right in rights.needed_rights(source):
        action = azure_rights.DATA_ACTIONS[right]
        denied = action in missing
        steps.append(
            step(f"right:{action}", "failed", code="AccessDenied", remedy="Give the application …")
            if denied
            else step(f"right:{action}", "passed")
        )
    now = timezone.now()
    source.tests.create(
        state="finished",
        source_revision=source.revision,
        healthy=not missing,
        steps=steps,
        created_at=now,
        sent_at=now,
        finished_at=now,
    )
