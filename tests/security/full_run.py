"""One full run through the console: the whole main job, and everything that goes wrong with a secret."""

import base64
import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from demo import prepare
from demo.person import Form, Refused
from demo.walk import ADMINISTRATOR, KEYS, OPERATOR, SOURCES, Walk
from tests.security.needles import Hunt
from tests.security.places import (
    Database,
    Monitor,
    Places,
    WatchedPerson,
    broker_values,
    files,
    processes,
)
from tests.services import Stack

SECONDS = 30.0
OPEN_BLOBS = """
import base64, json
from keys.models import KeyBackup
from secretstore.services import open_from
blobs = [open_from(backup, "sealed_blob").reveal() for backup in KeyBackup.objects.all()]
print(json.dumps([base64.b64encode(blob).decode() for blob in blobs]))
"""


class FullRun:
    """Two people, and what they typed, by name; ``pages`` is all that they were shown."""

    def __init__(self, stack: Stack, database: Database) -> None:
        self.stack = stack
        self.database = database
        self.pages: Places = {}
        self.typed: dict[str, str] = {}
        child = stack.installation.preparation("--renew", OPERATOR, ADMINISTRATOR)
        child.start()
        self.passwords = prepare.passwords(child.result(seconds=60))
        self.walk = Walk(stack.installation, passwords=self.passwords)
        self.operator = self.walk.operator = WatchedPerson(stack.url, self.pages)
        self.administrator = self.walk.administrator = WatchedPerson(stack.url, self.pages)
        self.source = ""

    def go(self) -> None:
        self.typed["the client secret"] = self.stack.sandbox.secret
        self.walk.run()
        self.source = self._source_page()
        self._refused_entries()
        self._secrets_that_do_not_work()
        self._hsm_down()
        self._new_secret_works()
        self._look_at_everything()

    def _source_page(self) -> str:
        links = self.operator.open(SOURCES).links
        return next(link for text, link in links.items() if text.startswith("Demo HSM"))

    def _new_secret(self, name: str) -> str:
        value = self.typed[name] = secrets.token_urlsafe(30)
        return value

    # Entries that the console refuses ------------------------------------------------------------

    def _refused_entries(self) -> None:
        self._form_comes_back("a form with errors", friendly_name="Other", application_id="no GUID")
        self._form_comes_back("a name that is taken", application_id=self.stack.sandbox.application_id)
        too_long = self._new_secret("a Key that is too long") * 30
        self._form_comes_back("", friendly_name="Long", key=too_long)
        self._changed_meanwhile()
        self._database_trouble()
        blind = self._new_secret("a form without its token")
        assert self.operator.post_blindly(f"{SOURCES}add/", friendly_name="Blind", key=blind) == 403
        self._wrong_password()

    def _new_source_form(self) -> Form:
        return self.operator.open(f"{SOURCES}add/").form("friendly_name", "dns_name", "key")

    def _answers(self, **others: str) -> dict[str, str]:
        sandbox = self.stack.sandbox
        answers = {
            "friendly_name": f"Demo HSM {sandbox.port}",
            "kind": "azure_managed_hsm",
            "dns_name": sandbox.address(),
            "token_endpoint": sandbox.token_endpoint(),
            "application_id": sandbox.application_id,
            "trusted_roots": Path(sandbox.ca_file).read_text(),
        }
        return answers | others

    def _form_comes_back(self, name: str, **others: str) -> None:
        answers = self._answers(**others)
        answers.setdefault("key", self._new_secret(name) if name else "")
        page = self.operator.send(self._new_source_form(), files=None, **answers)
        assert page.path.endswith("/add/"), page.gist
        page.form("friendly_name", "dns_name", "key")

    def _changed_meanwhile(self) -> None:
        first, second = (self.operator.open(f"{self.source}change/").form("key") for _ in range(2))
        self.operator.send(first, secret_expires_on=_day(300))
        page = self.operator.send(second, key=self._new_secret("an edit that came second"))
        assert page.path.endswith("/change/"), page.gist

    def _database_trouble(self) -> None:
        key = self._new_secret("a Key that the database could not take")
        form = self._new_source_form()
        with self.database.without("audit_auditrecord"), pytest.raises(Refused, match="answered 500"):
            self.operator.send(form, files=None, **self._answers(friendly_name="Trouble", key=key))

    def _wrong_password(self) -> None:
        password = self._new_secret("a wrong password")
        with pytest.raises(Refused, match="cannot sign in"):
            WatchedPerson(self.stack.url, self.pages).sign_in(OPERATOR, password)

    # Secrets that the directory refuses, an HSM that does not answer --------------------------------

    def _secrets_that_do_not_work(self) -> None:
        self._edit(key=self._new_secret("a wrong secret"))
        assert "AADSTS7000215" in self._test()
        ended = datetime.now(UTC) - timedelta(days=1)
        value = self.typed["an expired secret"] = self.stack.sandbox.add_secret(
            ended - timedelta(days=9), ended
        ).value
        self._edit(key=value)
        assert "AADSTS7000222" in self._test()
        self._sign("failed")

    def _edit(self, **answers: str) -> None:
        form = self.operator.open(f"{self.source}change/").form("friendly_name", "key")
        page = self.operator.send(form, files=None, **answers)
        assert not page.path.endswith("/change/"), page.gist

    def _test(self) -> str:
        """What the source's page says after a connection test, which may be over before the page is there."""
        page = self.operator.send(self.operator.open(self.source).form(action="/test/"))
        for part in page.live:
            self.operator.wait(part, seconds=SECONDS)
        return self.operator.open(self.source).text

    def _sign(self, state: str) -> None:
        key = next(
            link for text, link in self.operator.open(KEYS).links.items() if text.startswith("demo-ec")
        )
        form = self.operator.open(f"{key}sign/").form("what", "digest", "algorithm")
        page = self.operator.send(form, what="digest", digest="ab" * 32, algorithm="ES256")
        done = self.operator.wait(f"{page.path}status.json", seconds=SECONDS)
        assert done["state"] == state, done

    def _hsm_down(self) -> None:
        with self._without_hsm():
            assert "The connection works" not in self._test()

    @contextmanager
    def _without_hsm(self) -> Iterator[None]:
        self.stack.sandbox.kill()
        try:
            yield
        finally:
            self.stack.sandbox.start()

    def _new_secret_works(self) -> None:
        value = self.typed["the second client secret"] = self.stack.sandbox.add_secret().value
        self._edit(key=value, secret_expires_on=_day(200))
        assert "The connection works" in self._test()
        self._sign("succeeded")

    def _look_at_everything(self) -> None:
        """Each person follows every link that the console offers on its first page and in its lists."""
        for person in (self.operator, self.administrator):
            home = person.open("/")
            first = _ours(self.stack.url, home.links.values())
            for address in first:
                for inner in _ours(self.stack.url, person.open(address).links.values()) - first:
                    person.open(inner)


def _ours(url: str, links: Iterable[str]) -> set[str]:
    found = {link.partition("#")[0] for link in links}
    return {link for link in found if link.startswith(url) and "logout" not in link and "?" not in link}


def _day(days: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}"


# --- What must not be found ----------------------------------------------------------------------


def needles(run: FullRun) -> dict[str, bytes]:
    """All the secrets of the run by name."""
    stack = run.stack
    found = {name: value.encode() for name, value in run.typed.items()}
    accounts = {account.username: account.password for account in stack.accounts.values()} | run.passwords
    found |= {f"the password of {name}": password.encode() for name, password in accounts.items()}
    found |= sealing_seeds(stack)
    found["Django's secret key"] = stack.installation.secret_key.encode()
    found["any access token"] = token_key(stack, run.typed["the second client secret"])
    for number, text in enumerate(json.loads(stack.python(OPEN_BLOBS).splitlines()[-1])):
        blob = base64.b64decode(text)
        found |= {f"backup blob {number}": blob, f"backup blob {number}, decoded": decoded(blob)}
    return found


def decoded(blob: bytes) -> bytes:
    """The ciphertext within a blob, which is a compact JWE (on the wire, base64url of that)."""
    return base64.urlsafe_b64decode(blob.split(b".")[3] + b"==")


def sealing_seeds(stack: Stack) -> dict[str, bytes]:
    found = {}
    for name in ("private.json", "recovery-private.json"):
        keys = json.loads((stack.installation.sealing_keys / name).read_text())["keys"]
        for number, key in enumerate(keys):
            found[f"seed {number} of {name}"] = base64.b64decode(key["seed"])
    return found


def token_key(stack: Stack, secret: str) -> bytes:
    """The name of the key that signs the HSM's tokens: base64 of it is in the header of each."""
    header = _token(stack, secret).partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=="))["kid"]).encode()


def _token(stack: Stack, secret: str) -> str:
    sandbox = stack.sandbox
    answer = requests.post(
        sandbox.token_endpoint(),
        data={
            "grant_type": "client_credentials",
            "client_id": sandbox.application_id,
            "client_secret": secret,
            "scope": f"{sandbox.audience}/.default",
        },
        verify=sandbox.ca_file,
        timeout=20,
    )
    answer.raise_for_status()
    return str(answer.json()["access_token"])


# --- The run and what it left --------------------------------------------------------------------


@dataclass
class Traces:
    """All that a full run left behind, by kind of place; and the hunt for its secrets."""

    hunt: Hunt
    names: set[str]
    pages: Places
    messages: bytes
    broker: Places
    rows: Places
    files: Places
    processes: Places


def traces_of_a_run(stack: Stack, database: Database) -> Traces:
    """Do the full run, and gather. Afterwards beat is stopped (it writes its schedule as it ends)."""
    run = FullRun(stack, database)
    with Monitor(stack.installation.broker_socket) as monitor:
        run.go()
    secrets = needles(run)
    running = processes(stack)
    stack.stop("beat")
    return Traces(
        hunt=Hunt(secrets),
        names=set(secrets),
        pages=run.pages,
        messages=bytes(monitor.seen),
        broker=broker_values(stack.installation.broker_socket),
        rows=database.rows(),
        files=files(stack) | database.files(),
        processes=running,
    )
