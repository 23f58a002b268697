"""Managed keys, their versions and backups, and the operations that act on them.

A row is both schedule and result: messages to workers carry an operation's id and nothing else, so a
lost or doubled message changes nothing. State changes go through conditional updates in the services.
"""

import uuid
from datetime import date, datetime
from typing import Any, ClassVar

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Lower

from cryptosources.models import CryptoSource
from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm, signature_algorithms
from keys import public_keys
from keys.attributes import EXPIRES_SOON, Validity, validity_of
from keys.lifecycle import NAME_FREE, UNDER_WAY, OperationKind, OperationState, Residency, Step
from secretstore.fields import SealedField


def _choices(enum: type[Any]) -> list[tuple[str, str]]:
    return [(member.value, member.value.replace("_", " ").capitalize()) for member in enum]


require_name = RegexValidator(r"\A[0-9a-zA-Z-]{1,127}\Z", "Use 1 to 127 letters, digits and hyphens.")


class Installation(models.Model):
    """This installation's identity, one row, made by a migration; every key we create is tagged with it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return str(self.id)


class ManagedKeyQuerySet(models.QuerySet["ManagedKey"]):
    def with_use(self, *, since: date) -> "ManagedKeyQuerySet":
        """Annotate ``recent_signatures``: signatures since that day (UTC), and ``last_used``, a day.

        Subqueries, not a join: a page of a long list counts for its own rows only.
        """
        use = KeyUse.objects.filter(key=models.OuterRef("pk"))
        by_key = use.filter(day__gte=since).order_by().values("key")
        recent = by_key.annotate(total=models.Sum("signatures")).values("total")
        last = use.order_by("-day").values("day")[:1]
        return self.annotate(
            recent_signatures=Coalesce(models.Subquery(recent), 0), last_used=models.Subquery(last)
        )

    def in_validity(self, validity: Validity, *, now: datetime) -> "ManagedKeyQuerySet":
        """Keys that are so at that moment; the same rule as ``attributes.validity_of``."""
        ended = Q(expires_at__lte=now)
        early = Q(not_before__gt=now)
        soon = Q(expires_at__lte=now + EXPIRES_SOON)
        in_use = self.filter(enabled=True)
        return {
            Validity.DISABLED: self.filter(enabled=False),
            Validity.EXPIRED: in_use.filter(ended),
            Validity.NOT_YET_VALID: in_use.filter(early).exclude(ended),
            Validity.EXPIRING: in_use.filter(soon).exclude(ended).exclude(early),
            Validity.VALID: in_use.exclude(soon).exclude(early),
        }[validity]


class ManagedKey(models.Model):
    """A key this console created (or adopted) in a crypto source: one name, one or more versions."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    source = models.ForeignKey(CryptoSource, on_delete=models.PROTECT, related_name="managed_keys")
    name = models.CharField(max_length=127, validators=[require_name])
    algorithm = models.CharField(max_length=16, choices=_choices(KeyAlgorithm))
    residency = models.CharField(max_length=16, choices=_choices(Residency), default=Residency.CREATING)
    fault = models.TextField(blank=True, help_text="Why the key waits for a person; empty unless faulted.")
    current_version = models.CharField(max_length=64, blank=True)
    recovery_level = models.CharField(max_length=64, blank=True)
    purgeable = models.BooleanField(default=True)
    scheduled_purge_at = models.DateTimeField(null=True, blank=True)
    # The current version's, as the HSM told them last; before the key exists, what was asked for.
    enabled = models.BooleanField(default=True)
    not_before = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    tags = models.JSONField(default=dict, blank=True, help_text="The operators' own tags.")
    verified_backup = models.ForeignKey(
        "KeyBackup", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    purge_override_by = models.CharField(max_length=150, blank=True)
    purge_override_at = models.DateTimeField(null=True, blank=True)
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    objects = ManagedKeyQuerySet.as_manager()
    #: Which rows still need their source's HSM; the others are history.
    needs_source: ClassVar = ~Q(residency__in=[str(r) for r in sorted(NAME_FREE)])

    class Meta:
        ordering: ClassVar = ["name"]
        indexes: ClassVar = [models.Index(fields=["name", "id"], name="keys_by_name")]
        permissions: ClassVar = [("operate_managedkey", "Can generate, sign with and operate keys")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                F("source"),
                Lower("name"),
                condition=~Q(residency__in=[str(r) for r in sorted(NAME_FREE)]),
                name="keys_one_key_per_name",
                violation_error_message="This source already has a key of that name.",
            ),
            # Product promise 1: no purge without a verified backup or a person's recorded override.
            models.CheckConstraint(
                condition=~Q(residency=Residency.ABSENT.value) | Q(verified_backup__isnull=False),
                name="keys_absent_needs_backup",
            ),
            models.CheckConstraint(
                condition=~Q(residency=Residency.FAULTED.value) | ~Q(fault=""),
                name="keys_faulted_says_why",
            ),
            models.CheckConstraint(
                condition=Q(purge_override_by="", purge_override_at__isnull=True)
                | (~Q(purge_override_by="") & Q(purge_override_at__isnull=False)),
                name="keys_override_who_and_when",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def signature_algorithms(self) -> tuple[SignatureAlgorithm, ...]:
        return signature_algorithms(KeyAlgorithm(self.algorithm))

    @property
    def where(self) -> Residency:
        return Residency(self.residency)

    def validity(self, now: datetime) -> Validity:
        return validity_of(
            enabled=self.enabled, not_before=self.not_before, expires_at=self.expires_at, now=now
        )


class KeyVersion(models.Model):
    """A version of a key: the HSM's version id and the public key on record."""

    key = models.ForeignKey(ManagedKey, on_delete=models.CASCADE, related_name="versions")
    version = models.CharField(max_length=64)
    public_key_der = models.BinaryField()
    created_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-created_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["key", "version"], name="keys_version_once"),
        ]

    def __str__(self) -> str:
        return self.version

    @property
    def pem(self) -> str:
        return public_keys.to_pem(bytes(self.public_key_der))

    @property
    def jwk(self) -> dict[str, Any]:
        return public_keys.to_jwk(bytes(self.public_key_der), key_id=self.version)


class KeyBackup(models.Model):
    """A backup blob of a key, all versions in it, sealed to the workers' and the recovery key.

    ``proof`` says how it was verified: ``hsm`` (the HSM itself opened it) or ``decoded`` (its form was
    checked; the right to restore was missing). Empty: not verified, and no ground for a purge.
    """

    PROOFS: ClassVar = [("", "Not verified"), ("decoded", "Form checked"), ("hsm", "Opened by the HSM")]

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.ForeignKey(ManagedKey, on_delete=models.PROTECT, related_name="backups")
    operation = models.ForeignKey(
        "KeyOperation", on_delete=models.PROTECT, related_name="backups", null=True, blank=True
    )
    sealed_blob = SealedField(recovery=True)
    origin = models.URLField(help_text="The HSM that made the blob.")
    size = models.PositiveIntegerField(help_text="Bytes of the blob as the HSM sent it.")
    sha256 = models.CharField(max_length=64)
    versions = models.JSONField(default=list)
    taken_at = models.DateTimeField()
    verified_at = models.DateTimeField(null=True, blank=True)
    proof = models.CharField(max_length=8, choices=PROOFS, blank=True, default="")

    class Meta:
        ordering: ClassVar = ["-taken_at"]
        constraints: ClassVar = [
            # A step that runs twice after a crash finds its first backup instead of making another.
            models.UniqueConstraint(fields=["operation"], name="keys_one_backup_per_operation"),
            models.CheckConstraint(
                condition=Q(proof="", verified_at__isnull=True)
                | (~Q(proof="") & Q(verified_at__isnull=False)),
                name="keys_backup_proof_and_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key_id} {self.taken_at:%Y-%m-%d %H:%M}"


class KeyBatch(models.Model):
    """Several keys that were asked for together. Its id is the form's token: sent twice, made once."""

    id = models.UUIDField(primary_key=True, editable=False)
    source = models.ForeignKey(CryptoSource, on_delete=models.PROTECT, related_name="+")
    algorithm = models.CharField(max_length=16, choices=_choices(KeyAlgorithm))
    first_name = models.CharField(max_length=127)
    last_name = models.CharField(max_length=127)
    count = models.PositiveIntegerField()
    actor_name = models.CharField(max_length=150)
    requested_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-requested_at"]
        verbose_name_plural: ClassVar = "key batches"

    def __str__(self) -> str:
        return f"{self.first_name} … {self.last_name}"


class KeyOperationQuerySet(models.QuerySet["KeyOperation"]):
    def under_way(self) -> "KeyOperationQuerySet":
        return self.filter(state__in=[state.value for state in UNDER_WAY])

    def waiting(self) -> "KeyOperationQuerySet":
        """For a worker or for their time: nobody holds them, and nothing went wrong."""
        between_steps = Q(state=OperationState.RUNNING, claim_token__isnull=True)
        return self.filter(Q(state=OperationState.PENDING, error="") | between_steps)

    def paused(self) -> "KeyOperationQuerySet":
        """After a passing error, until they are tried again."""
        return self.filter(state=OperationState.PENDING).exclude(error="")

    def held(self) -> "KeyOperationQuerySet":
        """A worker holds them now."""
        return self.filter(state=OperationState.RUNNING, claim_token__isnull=False)

    def due(self, now: datetime) -> "KeyOperationQuerySet":
        """Operations that owe work and whose message was lost, whose worker died, or whose pause is over."""
        return self.under_way().filter(due_at__lte=now)


class KeyOperation(models.Model):
    """One thing asked of one key: outbox, progress and result in a row.

    ``due_at`` is when the upkeep task looks at it again: after a send, the time by which a worker should
    have taken it; after a claim, the claim's end; after a retryable error, the end of the pause.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.ForeignKey(ManagedKey, on_delete=models.PROTECT, related_name="operations")
    batch = models.ForeignKey(
        KeyBatch, on_delete=models.PROTECT, related_name="operations", null=True, blank=True, db_index=False
    )
    kind = models.CharField(max_length=16, choices=_choices(OperationKind))
    exclusive = models.BooleanField()
    state = models.CharField(max_length=16, choices=_choices(OperationState), default=OperationState.PENDING)
    step = models.CharField(max_length=16, choices=_choices(Step))
    steps = models.JSONField(help_text="The names of all steps, fixed when the operation was asked for.")
    parameters = models.JSONField(default=dict)
    memo = models.JSONField(default=dict, help_text="What finished steps found that later ones need.")
    result = models.JSONField(default=dict)
    attempts = models.PositiveIntegerField(default=0, help_text="Failed attempts at the current step.")
    not_before = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField()
    sends = models.PositiveIntegerField(default=0)
    claim_token = models.UUIDField(null=True, blank=True)
    claim_expires_at = models.DateTimeField(null=True, blank=True)
    actor_kind = models.CharField(max_length=16)
    actor_identifier = models.CharField(max_length=150)
    actor_name = models.CharField(max_length=150)
    requested_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)
    error_code = models.CharField(max_length=100, blank=True)
    remedy = models.TextField(blank=True, help_text="The next thing to do about the error.")
    request_id = models.CharField(max_length=100, blank=True)

    objects = KeyOperationQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-requested_at"]
        indexes: ClassVar = [
            models.Index(fields=["state", "due_at"], name="keys_operation_due"),
            models.Index(fields=["key", "-requested_at"], name="keys_operation_recent"),
            models.Index(fields=["-requested_at", "id"], name="keys_operation_newest"),
            models.Index(fields=["state", "-requested_at", "id"], name="keys_operation_state"),
            models.Index(fields=["state", "finished_at"], name="keys_operation_ended"),
            models.Index(fields=["kind", "-requested_at", "id"], name="keys_operation_kind"),
            models.Index(fields=["actor_name", "-requested_at", "id"], name="keys_operation_actor"),
            models.Index(fields=["batch", "state"], name="keys_operation_batch"),
            models.Index(fields=["request_id"], condition=~Q(request_id=""), name="keys_operation_request"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["key"],
                condition=Q(exclusive=True, state__in=[state.value for state in UNDER_WAY]),
                name="keys_one_exclusive_operation",
            ),
            models.CheckConstraint(
                condition=Q(claim_token__isnull=True, claim_expires_at__isnull=True)
                | Q(claim_token__isnull=False, claim_expires_at__isnull=False),
                name="keys_claim_whole",
            ),
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in UNDER_WAY], finished_at__isnull=True)
                | (~Q(state__in=[state.value for state in UNDER_WAY]) & Q(finished_at__isnull=False)),
                name="keys_finished_when_ended",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.key.name}"

    @property
    def what(self) -> OperationKind:
        return OperationKind(self.kind)

    @property
    def is_under_way(self) -> bool:
        return OperationState(self.state) in UNDER_WAY

    @property
    def steps_done(self) -> int:
        """How many of ``steps`` are finished."""
        if self.state == OperationState.SUCCEEDED:
            return len(self.steps)
        return int(self.steps.index(self.step))


class KeyUse(models.Model):
    """Signatures made with a key on one day (UTC)."""

    key = models.ForeignKey(ManagedKey, on_delete=models.CASCADE, related_name="use")
    day = models.DateField()
    signatures = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering: ClassVar = ["-day"]
        indexes: ClassVar = [models.Index(fields=["day"], name="keys_use_day")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["key", "day"], name="keys_use_once_a_day"),
        ]

    def __str__(self) -> str:
        return f"{self.day}: {self.signatures}"
