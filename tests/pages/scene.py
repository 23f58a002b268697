"""Two installations of real processes for looking at pages: one full of believable data, one empty.

with scene() as stage, chromium() as browser:
    with stage.window(browser, page) as console: ...
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from tests.pages import cast
from tests.services import Stack

# An operation that waits for an HSM in vain gives up in time for the scene.
SETTINGS = {"KEYMANAGER_PROVIDER_DEADLINE": "10", "KEYMANAGER_RESEND_SECONDS": "1"}
NOTHING_INSIDE = "from tests.pages.story import empty_out; empty_out()"


@dataclass
class Scene:
    """``full`` and ``empty`` run; nothing moves in them any more."""

    full: Stack
    empty: Stack
    objects: Mapping[str, Any]

    @property
    def now(self) -> datetime:
        """The scene's present: every date in it counts from here."""
        return datetime.fromisoformat(self.objects["now"])

    def path(self, template: str) -> str:
        """``/keys/managedkey/{keys[archive-2019]}/`` with the object's id."""
        return template.format_map(self.objects)

    def sign_in(self, role: str, *, empty: bool = False) -> cast.SignIn:
        """How the person of that role signs in; ``newcomer`` is somebody without one."""
        if role == "newcomer":
            return cast.NEWCOMER
        account = (self.empty if empty else self.full).accounts[role]
        return cast.SignIn(role if empty else cast.PEOPLE[role][0], account.password)


@contextmanager
def scene() -> Iterator[Scene]:
    """Build both installations (about half a minute) and remove them at the end."""
    with ExitStack() as stacks:
        full = stacks.enter_context(Stack(settings=SETTINGS))
        objects = _tell(full)
        for name in ("beat", *full.workers):
            full.stop(name)
        full.sandbox.stop()
        empty = stacks.enter_context(Stack(workers=0, beat=False))
        empty.python(NOTHING_INSIDE)
        empty.sandbox.stop()
        yield Scene(full, empty, objects)


def _tell(stack: Stack) -> Mapping[str, Any]:
    file = stack.directory / "hsm.json"
    file.write_text(json.dumps(asdict(_hsm(stack))))
    said = stack.python(f"from tests.pages.story import tell; tell({str(file)!r})", seconds=120)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def _hsm(stack: Stack) -> cast.Hsm:
    """The sandbox with an application for each source: one lacks a right, one's secret has ended."""
    sandbox = stack.sandbox
    applications = {}
    for name in cast.ADDRESSES:
        app = sandbox.add_app(re.sub(r"\W+", "-", name))
        applications[name] = cast.Application(app.application_id, app.secret.value)
        if name == cast.SIGNING:
            sandbox.revoke("keys/delete", application_id=app.application_id)
        if name == cast.ENDED:
            sandbox.end_secret(app.secret.key_id)
    return cast.Hsm(sandbox.address(), sandbox.token_endpoint(), sandbox.ca_file, applications)
