"""The way from an empty installation to its first signature, step by step, for those who may walk it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.urls import reverse

from cryptosources.models import ConnectionTest, LastTest
from keymanager.overview import links
from keymanager.overview.faults import Reader
from keymanager.overview.sources import SourceRow
from keys.lifecycle import Residency
from keys.models import KeyUse, ManagedKey

_OF_AN_ADMINISTRATOR: Final = "An administrator of this console does this."
_WALKERS: Final = ("cryptosources.add_cryptosource", "keys.operate_managedkey")


@dataclass(frozen=True, slots=True)
class FirstStep:
    """``url`` is empty unless the step is next and the reader may take it."""

    title: str
    text: str
    act: str
    url: str
    done: bool
    is_next: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """A step for everybody, before it is known which is next."""

    title: str
    text: str
    act: str
    permission: str
    url: str
    done: bool


def checklist(*, reader: Reader, sources: Sequence[SourceRow], licensed: bool) -> list[FirstStep]:
    """The checklist; empty once anything was ever signed, and for those who may do none of it.

    One query when the installation is in use, three while it is new.
    """
    if not any(reader.has_perm(permission) for permission in _WALKERS) or KeyUse.objects.exists():
        return []
    plans = _plans(sources, licensed=licensed)
    following = next((plan for plan in plans if not plan.done), None)
    return [_step(plan, reader, is_next=plan is following) for plan in plans]


def _step(plan: _Plan, reader: Reader, *, is_next: bool) -> FirstStep:
    may = reader.has_perm(plan.permission)
    text = plan.text if may or plan.done else f"{plan.text} {_OF_AN_ADMINISTRATOR}"
    url = plan.url if may and is_next else ""
    return FirstStep(plan.title, text, plan.act, url, plan.done, is_next)


def _plans(sources: Sequence[SourceRow], *, licensed: bool) -> list[_Plan]:
    keys = ManagedKey.objects.filter(residency=Residency.RESIDENT).order_by("-created_at")
    key = keys.values_list("pk", flat=True).first()
    licence = [] if licensed else [_licence()]
    return [*licence, *_source_plans(sources, has_key=key is not None), *_key_plans(key)]


def _licence() -> _Plan:
    return _Plan(
        "Install the licence",
        "It says which types of crypto source this installation may use.",
        "Install a licence",
        "licensing.add_licence",
        reverse(links.NEW_LICENCE),
        done=False,
    )


def _source_plans(sources: Sequence[SourceRow], *, has_key: bool) -> list[_Plan]:
    untested = next((row for row in sources if row.last_test != LastTest.HEALTHY), None)
    inactive = next((row for row in sources if not row.active), None)
    return [
        _Plan(
            "Create a crypto source",
            "It says how to reach an HSM, and signs in to it.",
            "New crypto source",
            "cryptosources.add_cryptosource",
            reverse(links.NEW_SOURCE),
            done=bool(sources),
        ),
        _Plan(
            "Test its connection",
            "You see each step, and what to do about one that fails.",
            "Go to the test",
            "cryptosources.test_cryptosource",
            links.connection(untested.pk) if untested else "",
            done=ConnectionTest.objects.filter(healthy=True).exists(),
        ),
        _Plan(
            "Make it Active",
            "Only an Active source generates keys and signs.",
            "Go to the source",
            "cryptosources.toggle_cryptosource",
            links.source_page(inactive.pk) if inactive else "",
            done=has_key or any(row.active for row in sources),
        ),
    ]


def _key_plans(key: UUID | None) -> list[_Plan]:
    return [
        _Plan(
            "Generate a key",
            "It is made inside the HSM, and signs there.",
            "Generate a key",
            "keys.operate_managedkey",
            reverse(links.NEW_KEY),
            done=key is not None,
        ),
        _Plan(
            "Sign a file or a digest",
            "The console verifies the signature before it hands it out.",
            "Sign",
            "keys.operate_managedkey",
            links.sign_page(key) if key else "",
            done=False,
        ),
    ]
