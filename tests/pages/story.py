"""What has happened in the scene's installation. Runs inside it: ``tell`` in a worker's environment.

What an operator does is asked for through the services and done by the installation's own workers in the
sandbox's HSM. Only what would take weeks is written into rows: use over forty days, earlier records and
failures, ends of secrets, and work that stands still so that a page of it can be looked at.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import connection
from django.utils import timezone

from audit.actors import Actor
from audit.models import AuditRecord
from audit.services import Outcome, record
from cryptosources.models import ConnectionTest, CryptoSource
from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.api import KeyAttributes, ProviderKind
from cryptosources.services import connection_test, sources
from cryptosources.settings_value import SourceSettings
from keymanager.sign_in import veiled_name
from keys.lifecycle import OperationKind, OperationState, Residency
from keys.models import KeyBackup, KeyBatch, KeyOperation, KeyUse, ManagedKey
from keys.services import batches, requests
from licensing.models import Licence
from secretstore.secret import Secret
from tests.pages.cast import (
    ADDRESSES,
    ARCHIVE,
    DAYS_LEFT,
    ENDED,
    ESEAL,
    IDLE,
    LONG,
    NEWCOMER,
    PEOPLE,
    SIGNING,
    TENANT,
    Hsm,
)

PATIENCE_SECONDS: Final = 45.0


@dataclass
class Objects:
    """The ids of what is there, by the names that the catalogue uses."""

    now: str
    people: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    operations: dict[str, str] = field(default_factory=dict)
    batches: dict[str, str] = field(default_factory=dict)
    licence: str = ""
    licence_text: str = ""
    record: str = ""


def tell(hsm_file: str) -> None:
    """Let it all happen, with the HSM that the file describes; prints the ids as one line of JSON."""
    now = timezone.now().replace(second=0, microsecond=0)
    story = Story(Hsm.read(Path(hsm_file).read_text()), now)
    story.run()
    sys.stdout.write(json.dumps(asdict(story.objects)) + "\n")


def empty_out() -> None:
    """Take away what every prepared installation has, and one table, so that a page of it fails."""
    Licence.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE django_admin_log")


class Story:
    def __init__(self, hsm: Hsm, now: datetime) -> None:
        self.hsm = hsm
        self.now = now
        self.objects = Objects(now=now.isoformat())

    def run(self) -> None:
        self.people()
        self.past_records()
        self.make_sources()
        self.make_keys()
        self.work()
        self.fail()
        self.make_batches()
        self.past_use()
        self.stand_still()
        self.date_back()
        self.tidy()

    def before(self, **parts: float) -> datetime:
        """A moment so long before the scene's present."""
        return self.now - timedelta(**parts)

    @property
    def operator(self) -> Actor:
        return Actor.person(User.objects.get(username=PEOPLE["operator"][0]))

    # --- People and the past ------------------------------------------------------------------

    def people(self) -> None:
        """Names for the four accounts, and some more people."""
        for role, (username, first, last) in PEOPLE.items():
            User.objects.filter(username=role).update(
                username=username,
                first_name=first,
                last_name=last,
                email=f"{username}@contoso.example",
                last_login=self.before(hours=3),
            )
        others = [("lena.vogel", "Lena", "Vogel", "operator"), ("sam.mori", "Sam", "Mori", "ops")]
        for username, first, last, role in others:
            person = User.objects.create_user(username, first_name=first, last_name=last, is_staff=True)
            person.groups.set(Group.objects.filter(name=role))
        User.objects.filter(username="sam.mori").update(is_active=False)
        AccessAttempt.objects.create(
            username=veiled_name(None, {"username": "lena.vogel"}),
            ip_address="203.0.113.9",
            attempt_time=timezone.now(),
            failures_since_start=settings.AXES_FAILURE_LIMIT,
        )
        User.objects.create_superuser("root")
        User.objects.create_user(NEWCOMER.username, password=NEWCOMER.password, is_staff=True)
        self.objects.people = {user.username: str(user.pk) for user in User.objects.all()}

    def past_records(self) -> None:
        """Five weeks of records of all outcomes, oldest first."""
        administrator = Actor.person(User.objects.get(username=PEOPLE["administrator"][0]))
        acts: list[tuple[str, Actor, str, Outcome, dict[str, object]]] = [
            ("source.created", administrator, IDLE, Outcome.SUCCEEDED, {"kind": "azure_managed_hsm"}),
            ("source.deactivated", administrator, ENDED, Outcome.SUCCEEDED, {}),
            (
                "key.sign",
                self.operator,
                "invoices-2026",
                Outcome.REFUSED,
                {"reason": "The source is Inactive."},
            ),
            ("key.backup", Actor.system("worker"), "archive-2019", Outcome.SUCCEEDED, {"size": 3412}),
            ("key.delete", Actor.system("worker"), "archive-2019", Outcome.FAILED, {"code": "Forbidden"}),
        ]
        for number in range(70):
            action, actor, name, outcome, details = acts[number % len(acts)]
            record(
                action=action,
                actor=actor,
                subject_type="crypto source" if action.startswith("source.") else "managed key",
                subject_id=str(uuid4()),
                subject_name=name,
                outcome=outcome,
                details=details,
                now=self.before(hours=12 * (70 - number)),
            )
        self.objects.record = str(AuditRecord.objects.filter(action="source.created").latest("at").pk)

    # --- Crypto sources -------------------------------------------------------------------------

    def make_sources(self) -> None:
        for name in (ESEAL, SIGNING, ENDED, ARCHIVE, LONG, IDLE):
            self.make_source(name)
        for name in (ESEAL, SIGNING, ENDED, IDLE):
            source = CryptoSource.objects.get(friendly_name=name)
            connection_test.request_test(
                source=source, actor=self.operator, now=timezone.now(), full_cycle=name == ESEAL
            )
        unfinished = ConnectionTest.objects.exclude(state__in=["finished", "failed"])
        self.wait("the connection tests", lambda: not unfinished.exists())

    def make_source(self, name: str) -> None:
        app = self.hsm.applications[name]
        kept = name in (ESEAL, LONG)
        entered = SourceSettings(
            friendly_name=name,
            kind=ProviderKind.AZURE_MANAGED_HSM,
            dns_name=self.hsm.address,
            token_endpoint=self.hsm.token_endpoint,
            application_id=app.application_id,
            key=Secret(app.secret),
            secret_expires_on=(self.now + timedelta(days=max(DAYS_LEFT[name], 1))).date(),
            backup_restore=kept,
            keep_after_signing=kept,
            remove_after_seconds=900 if kept else None,
            trusted_roots=Path(self.hsm.ca_file).read_text(),
        )
        made = sources.create_source(entered=entered, active=True, actor=self.operator, now=timezone.now())
        self.objects.sources[name] = str(made.pk)

    # --- Keys and operations ----------------------------------------------------------------------

    def make_keys(self) -> None:
        """One key of every type, and some for the states that follow."""
        self.do(
            *(self.generation(ESEAL, f"eseal-{type_.value.lower()}", type_) for type_ in KeyAlgorithm),
            self.generation(ESEAL, "archive-2019"),
            self.generation(ESEAL, "invoices-2021"),
            self.generation(ESEAL, "qualified-seal-of-the-finance-department-for-outgoing-invoices-2026"),
            self.generation(IDLE, "trial-purged"),
            self.generation(ENDED, "trial-never-created"),
            self.generation(SIGNING, "code-signing-2026", KeyAlgorithm.EC_P384),
            self.generation(SIGNING, "driver-signing", KeyAlgorithm.EC_P521),
        )
        self.objects.keys = {key.name: str(key.pk) for key in ManagedKey.objects.all()}

    def generation(
        self, source: str, name: str, algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256
    ) -> KeyOperation:
        return requests.generate_key(
            source=CryptoSource.objects.get(friendly_name=source),
            name=name,
            algorithm=algorithm,
            actor=self.operator,
            now=timezone.now(),
        )

    def work(self) -> None:
        """Every kind of operation, done."""
        self.do(
            self.ask("archive-2019", OperationKind.DELETE),
            self.ask("invoices-2021", OperationKind.DELETE),
            self.ask("trial-purged", OperationKind.DELETE),
            self.ask("eseal-ec-p-256", OperationKind.ROTATE, "rotated"),
            self.ask("eseal-rsa-3072", OperationKind.BACKUP, "backed-up"),
            self.signature("eseal-rsa-4096", SignatureAlgorithm.PS256, "annual-report.pdf", "signed-rsa"),
        )
        self.do(
            self.update("eseal-rsa-3072", "updated"),
            self.purge("invoices-2021"),
            self.purge("trial-purged", "purged"),
            self.signature("eseal-ec-p-256", SignatureAlgorithm.ES256, "contract-4711.pdf", "signed"),
        )

    def fail(self) -> None:
        """Failures as the HSM gives them: a right that the application lacks."""
        self.do(self.ask("code-signing-2026", OperationKind.DELETE, "failed"))

    def make_batches(self) -> None:
        """One that is done, and one that stands still when it has come to its third key."""
        done = self.batch("done", [f"test-seal-{number:02}" for number in range(1, 3)])
        half = self.batch("half", [f"branch-seal-{number:03}" for number in range(1, 13)])
        self.wait("a batch", lambda: not done.operations.under_way().exists())
        self.wait("three keys", lambda: half.operations.exclude(finished_at=None).count() >= 3)
        rest = half.operations.filter(state=OperationState.PENDING)
        self.wait("the rest", lambda: bool(rest.update(due_at=self.now + timedelta(days=30))))
        self.do(*half.operations.filter(state=OperationState.RUNNING))
        half.operations.filter(pk__in=rest.values("pk")).update(not_before=self.now + timedelta(minutes=3))
        self.objects.keys |= {key.name: str(key.pk) for key in ManagedKey.objects.all()}

    def batch(self, name: str, keys: list[str]) -> KeyBatch:
        made = batches.generate_batch(
            source=CryptoSource.objects.get(friendly_name=IDLE),
            names=keys,
            algorithm=KeyAlgorithm.EC_P256,
            actor=self.operator,
            now=timezone.now(),
        )
        self.objects.batches[name] = str(made.pk)
        return made

    def update(self, key: str, name: str) -> KeyOperation:
        """The key ends soon, and says whom it belongs to."""
        attributes = KeyAttributes(
            expires_at=self.now + timedelta(days=20), tags={"owner": "finance", "cost-centre": "4711"}
        )
        operation = requests.request_update(
            key=self.key(key), attributes=attributes, actor=self.operator, now=timezone.now()
        )
        return self.named(operation, name)

    def ask(self, key: str, kind: OperationKind, name: str = "") -> KeyOperation:
        operation = requests.request_operation(
            key=self.key(key), kind=kind, actor=self.operator, now=timezone.now()
        )
        return self.named(operation, name)

    def purge(self, key: str, name: str = "") -> KeyOperation:
        operation = requests.request_purge(
            key=self.key(key), typed_name=key, actor=self.operator, now=timezone.now()
        )
        return self.named(operation, name)

    def signature(self, key: str, algorithm: SignatureAlgorithm, label: str, name: str) -> KeyOperation:
        operation = requests.request_signature(
            key=self.key(key),
            algorithm=algorithm,
            digest=hashlib.new(algorithm.hash_name, label.encode()).digest(),
            label=label,
            actor=self.operator,
            now=timezone.now(),
        )
        return self.named(operation, name)

    def key(self, name: str) -> ManagedKey:
        return ManagedKey.objects.get(name=name)

    def named(self, operation: KeyOperation, name: str) -> KeyOperation:
        if name:
            self.objects.operations[name] = str(operation.pk)
        return operation

    def do(self, *operations: KeyOperation) -> None:
        """Wait until the workers have done these."""
        rows = KeyOperation.objects.filter(pk__in=[operation.pk for operation in operations])
        self.wait("the operations", lambda: not rows.under_way().exists())

    def wait(self, what: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not end within {PATIENCE_SECONDS:.0f} seconds")
            time.sleep(0.1)

    # --- What would take weeks --------------------------------------------------------------------

    def past_use(self) -> None:
        """Forty days of signatures: weekdays busier than weekends."""
        for number, key in enumerate(ManagedKey.objects.filter(residency=Residency.RESIDENT)):
            for ago in range(1, 41):
                day = self.before(days=ago).date()
                signatures = (37 * ago + 53 * number) % 240 + (0 if day.weekday() > 4 else 400)
                KeyUse.objects.update_or_create(key=key, day=day, defaults={"signatures": signatures})

    def stand_still(self) -> None:
        """Work under way that stays so, and a fault."""
        far = self.now + timedelta(days=30)
        self.under_way("eseal-rsa-2048", OperationKind.BACKUP, "running", step="verify_backup")
        waiting = self.under_way("eseal-ec-p-384", OperationKind.ROTATE, "waiting")
        waiting.update(
            attempts=2,
            error="The HSM asks for patience: it has had more requests than it takes.",
            error_code="429",
            not_before=self.now + timedelta(minutes=3),
        )
        source = CryptoSource.objects.get(friendly_name=LONG)
        source.tests.create(
            requested_by=PEOPLE["operator"][0],
            state=ConnectionTest.State.RUNNING,
            created_at=self.now,
            sent_at=self.now,
            started_at=self.now,
            claim_expires_at=far,
            steps=self.first_steps(4),
        )
        self.change_key(
            "driver-signing",
            residency=Residency.FAULTED,
            fault="The HSM's key is not the one on record: its public key differs.",
        )

    def first_steps(self, count: int) -> list[Any]:
        """The first steps of a test that came to its end."""
        done = ConnectionTest.objects.filter(healthy=True).first()
        return list(done.steps[:count]) if done else []

    def under_way(self, key: str, kind: OperationKind, name: str, step: str = "") -> Any:
        """An operation that nobody will ever finish: claimed for a month."""
        operation = self.ask_quietly(key, kind)
        self.named(operation, name)
        far = self.now + timedelta(days=30)
        rows = KeyOperation.objects.filter(pk=operation.pk)
        rows.update(
            state=OperationState.RUNNING,
            step=step or operation.step,
            claim_token=uuid4(),
            claim_expires_at=far,
            due_at=far,
            started_at=self.now + timedelta(minutes=1),
        )
        return rows

    def ask_quietly(self, key: str, kind: OperationKind) -> KeyOperation:
        """A row as the service writes it, of which no worker is told."""
        like = KeyOperation.objects.filter(kind=kind).latest("requested_at")
        return KeyOperation.objects.create(
            key=self.key(key),
            kind=kind,
            exclusive=kind.exclusive,
            step=like.steps[0],
            steps=like.steps,
            due_at=self.now + timedelta(days=30),
            actor_kind=self.operator.kind,
            actor_identifier=self.operator.identifier,
            actor_name=self.operator.name,
            requested_at=self.now + timedelta(minutes=1),
        )

    def change_key(self, name: str, **columns: Any) -> None:
        ManagedKey.objects.filter(name=name).update(**columns)

    # --- Dates and names for the pictures ----------------------------------------------------------

    def date_back(self) -> None:
        """Spread over weeks what took seconds, at moments that do not depend on this machine's speed."""
        keys = ManagedKey.objects.order_by("name")
        for number, key in enumerate(keys):
            made = self.before(days=40 - 2 * number, hours=number)
            ManagedKey.objects.filter(pk=key.pk).update(created_at=made, updated_at=made)
            date_versions(key, made)
        over = KeyOperation.objects.exclude(finished_at=None).order_by("requested_at", "kind", "key__name")
        for number, operation in enumerate(reversed(over)):
            asked = self.before(minutes=2 + number * 47)
            KeyOperation.objects.filter(pk=operation.pk).update(
                requested_at=asked,
                started_at=asked + timedelta(milliseconds=120),
                finished_at=asked + timedelta(milliseconds=900 + 140 * number),
            )
            backups = KeyBackup.objects.filter(operation=operation)
            backups.update(taken_at=asked)
            backups.exclude(verified_at=None).update(verified_at=asked)
        for number, test in enumerate(ConnectionTest.objects.exclude(finished_at=None)):
            self.date_test(test, self.before(minutes=30 + 250 * number))

    def date_test(self, test: ConnectionTest, at: datetime) -> None:
        steps = [{**step, "duration_ms": 11 + 7 * number} for number, step in enumerate(test.steps)]
        ConnectionTest.objects.filter(pk=test.pk).update(
            created_at=at, sent_at=at, started_at=at, finished_at=at + timedelta(seconds=2), steps=steps
        )

    def tidy(self) -> None:
        """Give every source the address it would have, and its last touches."""
        for name, host in ADDRESSES.items():
            source = CryptoSource.objects.get(friendly_name=name)
            CryptoSource.objects.filter(pk=source.pk).update(
                dns_name=f"https://{host}",
                token_endpoint=TENANT,
                trusted_roots="" if name != LONG else source.trusted_roots,
                secret_expires_on=(self.now + timedelta(days=DAYS_LEFT[name])).date(),
                secret_expiry_assumed=name == ARCHIVE,
                status="inactive" if name in (ENDED, ARCHIVE) else "active",
                created_at=self.before(days=45),
                updated_at=self.before(days=3),
            )
            rename(source.tests.all(), "steps", self.hsm.address, host)
            rename(KeyOperation.objects.filter(key__source=source), "memo", self.hsm.address, host)
            KeyBackup.objects.filter(key__source=source).update(origin=f"https://{host}")
        licence = Licence.objects.latest("pk")
        self.objects.licence, self.objects.licence_text = str(licence.pk), licence.token


def date_versions(key: ManagedKey, made: datetime) -> None:
    """The versions of a key, ten days apart from its making on."""
    for number, version in enumerate(key.versions.order_by("created_at", "pk")):
        key.versions.filter(pk=version.pk).update(created_at=made + timedelta(days=10 * number))


def rename(rows: Iterable[Any], column: str, address: str, host: str) -> None:
    """Put another host into a JSON column, with and without its scheme."""
    words: Sequence[tuple[str, str]] = (
        (address, f"https://{host}"),
        (address.removeprefix("https://"), host),
        ("localhost", host),
        ("127.0.0.1, ::1", "20.50.2.17"),
        ("127.0.0.1", "20.50.2.17"),
        (f"port {address.rpartition(':')[2]}", "port 443"),
    )
    for row in rows:
        text = json.dumps(getattr(row, column))
        for old, new in words:
            text = text.replace(old, new)
        type(row).objects.filter(pk=row.pk).update(**{column: json.loads(text)})
