"""Crypto sources: how to reach one HSM or vault; and the record of its connection tests."""

import uuid
from datetime import date, datetime
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Length, Lower, Trim
from django.db.models.lookups import GreaterThan
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from cryptosources import consequences
from cryptosources.providers.api import ProviderKind, StepOutcome
from secretstore.fields import SealedField

FRIENDLY_NAME_LENGTH = 100
MAX_SECONDS = 2_147_483_647
# The connection test's step that tells whether deleted keys can be purged.
PURGE_PROTECTION = "purge_protection"


class SourceKind(models.TextChoices):
    """The *Crypto Source Type*. The values are those of :class:`ProviderKind`."""

    AZURE_MANAGED_HSM = ProviderKind.AZURE_MANAGED_HSM.value, _("Azure Managed HSM")
    MEMORY = ProviderKind.MEMORY.value, _("In memory (tests only)")


class SourceStatus(models.TextChoices):
    ACTIVE = "active", _("Active")
    INACTIVE = "inactive", _("Inactive")


class SignInMethod(models.TextChoices):
    CLIENT_SECRET = "client_secret", _("Client secret")


class LastTest(models.TextChoices):
    """What the newest test that came to its end still says about its source, the worst first."""

    FAILED = "failed", _("failed")
    REFUSED = "refused", _("healthy, then refused")
    CHANGED = "changed", _("changed since the last test")
    NEVER = "never", _("never")
    HEALTHY = "healthy", _("healthy")


class CryptoSourceQuerySet(models.QuerySet["CryptoSource"]):
    def with_last_test(self) -> Self:
        """Annotate ``last_test_at``, when the newest test came to its end, and ``last_test``, a
        :class:`LastTest`: a test speaks no longer for a source that was changed after it, nor is that one
        healthy to which a sign-in or a right was refused after it."""
        finished = ConnectionTest.objects.filter(
            source=models.OuterRef("pk"), state=ConnectionTest.State.FINISHED
        ).order_by("-finished_at")
        refusals = consequences.refusals()
        return self.annotate(
            last_test_at=models.Subquery(finished.values("finished_at")[:1]),
            _test_revision=models.Subquery(finished.values("source_revision")[:1]),
            _test_healthy=models.Subquery(finished.values("healthy")[:1]),
            **{f"_refused_{room}_at": told for room, told in refusals.items()},
        ).annotate(
            last_test=models.Case(
                models.When(last_test_at__isnull=True, then=models.Value(LastTest.NEVER)),
                models.When(_test_revision__lt=models.F("revision"), then=models.Value(LastTest.CHANGED)),
                models.When(_test_healthy=False, then=models.Value(LastTest.FAILED)),
                *(
                    models.When(
                        **{f"_refused_{room}_at__gt": models.F("last_test_at")},
                        then=models.Value(LastTest.REFUSED),
                    )
                    for room in refusals
                ),
                default=models.Value(LastTest.HEALTHY),
                output_field=models.CharField(),
            )
        )

    def with_keys(self) -> Self:
        """Annotate ``keys_count``, the rows of other apps that stand on the source and protect it, and
        ``resident_keys``, those of them that are in the HSM now."""
        counts = [models.functions.Coalesce(_count(relation), 0) for relation in protecting_relations()]
        nothing = models.Value(0, output_field=models.IntegerField())
        return self.annotate(
            keys_count=sum(counts, start=nothing),
            resident_keys=sum(consequences.resident_counts(), start=nothing),
        )


def protecting_relations() -> "list[models.ManyToOneRel]":
    """The foreign keys of other apps that keep a source from being deleted (keys, in this project)."""
    return [
        relation
        for relation in CryptoSource._meta.related_objects
        if isinstance(relation, models.ManyToOneRel)
        and relation.on_delete is models.PROTECT
        and relation.related_model is not ThrowAwayKey
    ]


def _count(relation: "models.ManyToOneRel") -> models.Subquery:
    """Rows that stand on the source. A model may say with ``needs_source``, a Q, which of them still do."""
    name = relation.field.name
    standing = getattr(relation.related_model, "needs_source", Q())
    rows = relation.related_model._base_manager.filter(standing, **{name: models.OuterRef("pk")}).order_by()
    return models.Subquery(rows.values(name).annotate(count=models.Count("pk")).values("count"))


class CryptoSource(models.Model):
    """One HSM or vault and the credential that opens it.

    Written by :mod:`cryptosources.services.sources` only. ``revision`` grows by one with every write, so
    an edit that was based on an older state is noticed, and workers know when to connect anew.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    status = models.CharField(_("Status"), max_length=10, choices=SourceStatus, default=SourceStatus.INACTIVE)
    friendly_name = models.CharField(_("Friendly Name"), max_length=FRIENDLY_NAME_LENGTH)
    kind = models.CharField(_("Crypto Source Type"), max_length=40, choices=SourceKind)
    dns_name = models.CharField(_("DNS Name"), max_length=300, blank=True)
    token_endpoint = models.CharField(_("Endpoint OAuth 2.0 Token"), max_length=500, blank=True)
    application_id = models.UUIDField(_("Application ID"), null=True, blank=True)
    sealed_secret = SealedField(null=True, blank=True)
    secret_expires_on = models.DateField(_("Key expires on"), null=True, blank=True)
    secret_expiry_assumed = models.BooleanField(default=False)
    backup_restore = models.BooleanField(_("Enable Key Backup & Restore"), default=False)
    keep_after_signing = models.BooleanField(
        _("Do not instantly remove key from Azure after signing"), default=False
    )
    remove_after_seconds = models.PositiveIntegerField(
        _("Remove the keys after (seconds)"), null=True, blank=True
    )
    trusted_roots = models.TextField(_("Trusted root certificates"), blank=True)
    sign_in_method = models.CharField(
        _("Sign-in method"), max_length=20, choices=SignInMethod, default=SignInMethod.CLIENT_SECRET
    )
    revision = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.CharField(max_length=200, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)
    updated_by = models.CharField(max_length=200, blank=True)

    objects = CryptoSourceQuerySet.as_manager()

    class Meta:
        verbose_name = _("crypto source")
        ordering = (Lower("friendly_name"),)
        permissions = (
            ("toggle_cryptosource", "Can switch crypto sources Active or Inactive"),
            ("test_cryptosource", "Can test the connection of crypto sources"),
        )
        constraints = (
            models.UniqueConstraint(
                Lower("friendly_name"),
                name="source_friendly_name_unique",
                violation_error_message=_("Another crypto source has this Friendly Name."),
            ),
            models.CheckConstraint(
                condition=GreaterThan(Length(Trim("friendly_name")), 0), name="source_friendly_name_given"
            ),
            models.CheckConstraint(condition=Q(kind__in=SourceKind.values), name="source_kind_known"),
            models.CheckConstraint(condition=Q(status__in=SourceStatus.values), name="source_status_known"),
            models.CheckConstraint(
                condition=Q(sign_in_method__in=SignInMethod.values), name="source_sign_in_method_known"
            ),
            models.CheckConstraint(
                condition=~Q(kind=SourceKind.AZURE_MANAGED_HSM)
                | Q(
                    dns_name__startswith="https://",
                    token_endpoint__startswith="https://",
                    application_id__isnull=False,
                    sealed_secret__isnull=False,
                    secret_expires_on__isnull=False,
                ),
                name="source_azure_complete",
            ),
            models.CheckConstraint(
                condition=Q(keep_after_signing=False) | Q(backup_restore=True),
                name="source_keep_needs_backup",
            ),
            models.CheckConstraint(
                condition=Q(keep_after_signing=False, remove_after_seconds__isnull=True)
                | Q(
                    keep_after_signing=True,
                    remove_after_seconds__gte=1,
                    remove_after_seconds__lte=MAX_SECONDS,
                    remove_after_seconds__isnull=False,
                ),
                name="source_seconds_go_with_keep",
            ),
            models.CheckConstraint(condition=Q(revision__gte=1), name="source_revision_positive"),
        )

    def __str__(self) -> str:
        return self.friendly_name

    @property
    def is_active(self) -> bool:
        return self.status == SourceStatus.ACTIVE

    @property
    def provider_kind(self) -> ProviderKind:
        return ProviderKind(self.kind)

    @property
    def address(self) -> str:
        """The host that people recognise the source by (without the scheme)."""
        return self.dns_name.removeprefix("https://")

    def is_purge_protected(self) -> bool:
        """Whether the newest test that came to its end found that deleted keys cannot be purged."""
        test = self.tests.filter(state=ConnectionTest.State.FINISHED).order_by("-finished_at").first()
        outcomes = {step["name"]: step["outcome"] for step in test.steps} if test else {}
        return outcomes.get(PURGE_PROTECTION) in (StepOutcome.WARNING, StepOutcome.FAILED)

    def secret_days_left(self, today: date) -> int | None:
        """Whole days until the Key's end date; negative when it has passed; None without a Key."""
        return None if self.secret_expires_on is None else (self.secret_expires_on - today).days


class ConnectionTest(models.Model):
    """One run of *Test connection*: request, claim and result in one row.

    PENDING → RUNNING (a worker's claim) → FINISHED (``healthy`` says how) or FAILED (the test itself could
    not be carried out; ``problem`` says why). No state comes twice, so a row is claimed at most once and
    RUNNING is its worker's alone. ``steps`` grows while it runs.
    """

    class State(models.TextChoices):
        PENDING = "pending", _("waiting for a worker")
        RUNNING = "running", _("running")
        FINISHED = "finished", _("finished")
        FAILED = "failed", _("not carried out")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    source = models.ForeignKey(CryptoSource, on_delete=models.CASCADE, related_name="tests")
    source_revision = models.PositiveIntegerField(null=True)
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    full_cycle = models.BooleanField(default=False)
    steps = models.JSONField(default=list)
    healthy = models.BooleanField(null=True)
    problem = models.TextField(blank=True)
    requested_by = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField()
    claim_expires_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("connection test")
        ordering = ("-created_at",)
        default_permissions = ()
        indexes = (models.Index(fields=("source", "-created_at"), name="connectiontest_source_newest"),)
        constraints = (
            models.CheckConstraint(
                condition=Q(state="pending", claim_expires_at__isnull=True, finished_at__isnull=True)
                | Q(state="running", claim_expires_at__isnull=False, finished_at__isnull=True)
                | Q(state="finished", healthy__isnull=False, finished_at__isnull=False)
                | (Q(state="failed", finished_at__isnull=False) & ~Q(problem="")),
                name="connectiontest_state_consistent",
            ),
            models.UniqueConstraint(
                fields=("source",),
                condition=Q(state__in=("pending", "running")),
                name="connectiontest_one_under_way",
            ),
        )

    def __str__(self) -> str:
        return f"{self.source} · {self.get_state_display()}"

    @property
    def is_over(self) -> bool:
        return self.state in (self.State.FINISHED, self.State.FAILED)

    @property
    def is_outdated(self) -> bool:
        """What was tested has been changed since (see :mod:`cryptosources.services.sources`)."""
        return self.source_revision is not None and self.source_revision < self.source.revision

    def claim_expired(self, now: datetime) -> bool:
        """Running, and its worker has been silent longer than a worker can live."""
        return (
            self.state == self.State.RUNNING
            and self.claim_expires_at is not None
            and self.claim_expires_at < now
        )


class CycleStep(models.TextChoices):
    """What is done next with a throw-away key, in this order; REMOVE cleans up from wherever it is."""

    CREATE = "create", _("Create a throw-away key")
    SIGN = "sign", _("Sign with it")
    BACK_UP = "back_up", _("Back it up")
    DELETE = "delete", _("Delete it")
    PURGE = "purge", _("Purge it")
    RESTORE = "restore", _("Restore it from the backup")
    SIGN_AGAIN = "sign_again", _("Sign with the restored key")
    DELETE_AGAIN = "delete_again", _("Delete it again")
    PURGE_AGAIN = "purge_again", _("Purge it again")
    GONE = "gone", _("Nothing is left of it")
    REMOVE = "remove", _("Clean up")


class ThrowAwayKey(models.Model):
    """A key that a connection test made for itself, owed to the HSM's owner until it is gone.

    The row is committed before the HSM is asked to create the key and removed when the key is proven to
    be gone, so a row means: there may be such a key; ``public_key_der`` is None until it is known to be.
    ``step`` is what comes next. A claim that expired means that a worker died: then the step is REMOVE,
    never the next of the cycle.

    ``in_doubt_until``: the HSM was asked to create or restore the key, and may not know it everywhere yet;
    until then *not found* proves nothing. ``remains_until``: the key is deleted and protected from being
    purged; the HSM drops it by itself at that time. ``due_at`` None: waits for a person.
    ``not_before``: the end of a pause that no message shortens.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    source = models.ForeignKey(CryptoSource, on_delete=models.PROTECT, related_name="throw_away_keys")
    test = models.ForeignKey(
        ConnectionTest, null=True, on_delete=models.SET_NULL, related_name="throw_away_keys"
    )
    name = models.CharField(max_length=127, unique=True)
    step = models.CharField(max_length=16, choices=CycleStep, default=CycleStep.CREATE)
    public_key_der = models.BinaryField(null=True)
    sealed_backup = SealedField(null=True)
    created_at = models.DateTimeField()
    in_doubt_until = models.DateTimeField(null=True)
    remains_until = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    not_before = models.DateTimeField(null=True)
    claim_token = models.UUIDField(null=True)
    claim_expires_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    problem = models.TextField(blank=True)
    problem_code = models.CharField(max_length=100, blank=True)
    remedy = models.TextField(blank=True)

    class Meta:
        verbose_name = _("throw-away key")
        ordering = ("created_at",)
        default_permissions = ()
        indexes = (models.Index(fields=("due_at",), name="throwawaykey_due"),)
        constraints = (
            models.CheckConstraint(condition=Q(step__in=CycleStep.values), name="throwawaykey_step_known"),
            models.CheckConstraint(
                condition=Q(claim_token__isnull=True, claim_expires_at__isnull=True)
                | Q(claim_token__isnull=False, claim_expires_at__isnull=False),
                name="throwawaykey_claim_whole",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_being_removed(self) -> bool:
        return self.step == CycleStep.REMOVE
