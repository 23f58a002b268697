"""The protocol every provider follows, and the values that cross it.

Providers do not retry; services decide, in one place. Every call ends within the provider's total
deadline. All values are frozen and their ``repr`` shows no secret.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Final, Protocol, Self, runtime_checkable

from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm

Clock = Callable[[], datetime]
"""Gives the time now, aware and in UTC; passed in so that tests can set it."""

OBJECT_ID: Final = "object_id"
"""In a step's facts: the id under which the HSM knows the account, to which rights are assigned."""
MISSING_RIGHT: Final = "missing_right"
"""In a step's facts: the vendor's name of the right that was refused."""


class ProviderKind(StrEnum):
    """The family of a crypto source; also its licence feature and its name in the database."""

    AZURE_MANAGED_HSM = "azure_managed_hsm"
    MEMORY = "memory"


class Capability(StrEnum):
    """What a provider can do beyond the basic protocol."""

    BACKUP = "backup"
    PURGE = "purge"
    ROTATE = "rotate"
    UPDATE = "update"


class Right(StrEnum):
    """What a source's account may be asked to do; the names that ``check_health`` takes."""

    CREATE = "create"
    READ = "read"
    SIGN = "sign"
    BACKUP = "backup"
    RESTORE = "restore"
    DELETE = "delete"
    PURGE = "purge"
    READ_DELETED = "read_deleted"
    RECOVER = "recover"
    UPDATE = "update"


class KeyState(StrEnum):
    ACTIVE = "active"
    SOFT_DELETED = "soft_deleted"


class StepOutcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class KeyRef:
    """A key in one source: its name and, where one is meant, its version."""

    name: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What to create, enabled. ``tags`` are written to the HSM in clear: no personal data.

    The key signs from ``not_before`` until just before ``expires_at``, where they are given: aware, and
    whole seconds (a fraction is cut off).
    """

    name: str
    algorithm: KeyAlgorithm
    tags: dict[str, str] = field(default_factory=dict)
    not_before: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyAttributes:
    """All that may change on a version: whether and when it signs, and its tags.

    It is the whole of it: a date of None removes the date, and a tag that is missing goes. Dates and
    tags as in :class:`KeySpec`.
    """

    enabled: bool = True
    not_before: datetime | None = None
    expires_at: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key as the HSM describes it.

    ``public_key_der`` is a SubjectPublicKeyInfo (RFC 5280); None in listings that do not carry it and
    for symmetric keys. ``algorithm`` is None for a key of a kind we do not use.
    ``purgeable`` is False when the HSM protects deleted keys from purging.
    """

    ref: KeyRef
    state: KeyState
    public_key_der: bytes | None
    algorithm: KeyAlgorithm | None
    created_at: datetime | None
    updated_at: datetime | None = None
    enabled: bool = True
    not_before: datetime | None = None
    expires_at: datetime | None = None
    recovery_level: str = ""
    purgeable: bool = True
    deleted_at: datetime | None = None
    scheduled_purge_at: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class KeyBackup:
    """A backup blob (opaque bytes, sensitive), the address of the HSM that made it and the key's name.

    Give the ``name`` when restoring: the blob does not show it, and it is needed to tell
    KeyAlreadyExists from KeyNameReserved when the HSM refuses.
    """

    blob: bytes = field(repr=False)
    origin: str
    request_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature: DER for ECDSA, always; the modulus' length for RSA. ``key`` names the exact version."""

    value: bytes
    key: KeyRef
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class HealthStep:
    """One step of a connection test.

    ``name`` is a stable identifier (``dns``, ``tls``, ``right:keys/create``), ``label`` what a person
    reads, ``detail`` what was found, ``code`` the vendor's code, ``remedy`` the next thing to do, ``facts``
    what programs read (never a secret), such as the :data:`OBJECT_ID` that the sign-in tells.
    """

    name: str
    label: str
    outcome: StepOutcome
    detail: str = ""
    code: str = ""
    remedy: str = ""
    duration_ms: int = 0
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HealthReport:
    steps: tuple[HealthStep, ...]

    @property
    def healthy(self) -> bool:
        """No step failed (warnings and skipped steps are allowed)."""
        return all(step.outcome is not StepOutcome.FAILED for step in self.steps)


class CryptoProvider(Protocol):
    """One HSM or vault. A context manager; one per process and source, made after fork."""

    kind: ProviderKind
    capabilities: frozenset[Capability]

    @property
    def origin(self) -> str:
        """The HSM's address: what its backups name as the place they came from."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def close(self) -> None: ...

    def check_health(self, *, needed_rights: frozenset[str] | None = None) -> Iterator[HealthStep]:
        """The connection test, step by step, on a fresh credential; stops after a step that the rest needs.

        Never raises a :class:`ProviderError`: a failure is a step. ``needed_rights`` are
        values of :class:`Right`; None means all that this provider can do.
        """
        ...

    def create_key(self, spec: KeySpec) -> KeyInfo:
        """Create a key. KeyAlreadyExists (checked first, nothing changed) | KeyNameReserved."""
        ...

    def describe_key(self, ref: KeyRef) -> KeyInfo:
        """The live key (latest version unless one is named), or the soft-deleted one; KeyNotFound."""
        ...

    def list_keys(self, *, deleted: bool = False) -> Iterator[KeyInfo]: ...

    def sign_digest(self, ref: KeyRef, digest: bytes, algorithm: SignatureAlgorithm) -> Signature:
        """Sign a digest of the algorithm's length. ECDSA comes as DER. KeyNotFound."""
        ...

    def delete_key(self, ref: KeyRef) -> None:
        """Delete all versions; soft where the device is soft. Idempotent: an absent key is fine."""
        ...


@runtime_checkable
class SupportsBackup(Protocol):
    """Capability.BACKUP."""

    def backup_key(self, ref: KeyRef) -> KeyBackup: ...

    def check_backup(self, backup: KeyBackup) -> None:
        """Decode the blob as far as an outsider can (form, size); ForeignBackup when it is not one."""
        ...

    def restore_key(self, backup: KeyBackup) -> KeyInfo:
        """KeyAlreadyExists | KeyNameReserved | ForeignBackup."""
        ...


@runtime_checkable
class SupportsPurge(Protocol):
    """Capability.PURGE."""

    def purge_key(self, ref: KeyRef) -> None:
        """Remove a soft-deleted key for good. Idempotent. PurgeProtected."""
        ...

    def recover_key(self, ref: KeyRef) -> KeyInfo:
        """Undo a soft delete. KeyNotFound | KeyAlreadyExists when it is live."""
        ...


@runtime_checkable
class SupportsRotation(Protocol):
    """Capability.ROTATE."""

    def rotate_key(self, spec: KeySpec) -> KeyInfo:
        """Add a version to the live key of that name, as the spec says: nothing is taken from earlier ones.

        KeyNotFound when it is not live. KeyMismatch when it vanished meanwhile, so that the version began a
        new key. Not idempotent: list the versions before trying again.
        """
        ...

    def list_versions(self, name: str) -> Iterator[KeyInfo]: ...


@runtime_checkable
class SupportsUpdate(Protocol):
    """Capability.UPDATE."""

    def update_key(self, ref: KeyRef, attributes: KeyAttributes) -> KeyInfo:
        """Set the attributes of one version (the latest unless one is named). Idempotent. KeyNotFound.

        The answer tells what the HSM holds now; compare it, for an HSM may keep what it was to change.
        """
        ...


class FullProvider(CryptoProvider, SupportsBackup, SupportsPurge, SupportsRotation, SupportsUpdate, Protocol):
    """A provider with every capability: what Azure Managed HSM and the in-memory one are."""
