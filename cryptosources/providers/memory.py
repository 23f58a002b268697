"""An HSM in this process's memory that keeps a Managed HSM's rules: for tests, never for real keys.

Providers opened with the same name share one :class:`MemoryHsm`; :func:`memory_hsm` gives tests the
same object, to inject failures and to count calls. HSMs with the same ``domain`` restore each other's
backups, as Managed HSMs that share a security domain do.
"""

import os
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from cryptosources.providers.algorithms import SignatureAlgorithm, require_digest, signature_algorithms
from cryptosources.providers.api import (
    Capability,
    Clock,
    HealthStep,
    KeyAttributes,
    KeyBackup,
    KeyInfo,
    KeyRef,
    KeySpec,
    KeyState,
    ProviderKind,
    Right,
    Signature,
    StepOutcome,
)
from cryptosources.providers.config import MemoryConfig, Timeouts
from cryptosources.providers.errors import (
    AccessDenied,
    ForeignBackup,
    KeyAlreadyExists,
    KeyNameReserved,
    KeyNotFound,
    ProviderError,
    PurgeProtected,
    UnsupportedOperation,
)
from cryptosources.providers.memory_keys import (
    StoredKey,
    dump,
    find_version,
    new_version,
    parse,
    public_der,
    require_usable,
    sign,
    with_attributes,
)


@dataclass(slots=True)
class _Failure:
    operation: str
    error: ProviderError
    after: bool


class MemoryHsm:
    """One simulated HSM. Every operation holds the lock, so threads see it whole."""

    def __init__(self, config: MemoryConfig) -> None:
        self.config = config
        self.keys: dict[str, StoredKey] = {}
        self.calls: Counter[str] = Counter()
        self.denied: set[Right] = set()
        self._failures: list[_Failure] = []
        self.lock = threading.RLock()

    def fail_next(self, operation: str, error: ProviderError, *, times: int = 1, after: bool = False) -> None:
        """Let the next ``times`` calls of an operation (a :class:`Right`'s value) end in ``error``.

        With ``after`` the operation takes effect first, as when only the answer was lost.
        """
        with self.lock:
            self._failures.extend(_Failure(operation, error, after) for _ in range(times))

    def deny(self, right: Right) -> None:
        """Take a right away from the account, until :meth:`allow`."""
        self.denied.add(right)

    def allow(self, right: Right) -> None:
        self.denied.discard(right)

    @contextmanager
    def operation(self, right: Right, name: str = "") -> Iterator[None]:
        """Run one operation under the lock, with the right checked and injected failures raised."""
        with self.lock:
            self.calls[right.value] += 1
            if right in self.denied:
                raise AccessDenied(
                    f"The account has no right to {right} here.",
                    missing_right=right.value,
                    operation=right.value,
                    key=name,
                    code="AccessDenied",
                )
            failure = self._take_failure(right.value)
            if failure and not failure.after:
                raise failure.error
            yield
            if failure:
                raise failure.error

    def _take_failure(self, operation: str) -> _Failure | None:
        for failure in self._failures:
            if failure.operation == operation:
                self._failures.remove(failure)
                return failure
        return None

    def live(self, name: str, operation: Right) -> StoredKey:
        key = self.keys.get(name)
        if key is None or key.deleted_at is not None:
            raise KeyNotFound(f"There is no key {name}.", operation=operation, key=name, code="KeyNotFound")
        return key

    def deleted(self, name: str) -> StoredKey | None:
        key = self.keys.get(name)
        return key if key is not None and key.deleted_at is not None else None

    def require_free(self, name: str, operation: Right) -> None:
        """KeyAlreadyExists | KeyNameReserved unless nothing holds the name."""
        key = self.keys.get(name)
        if key is None:
            return
        if key.deleted_at is None:
            raise KeyAlreadyExists(f"A key {name} exists.", operation=operation, key=name, code="Conflict")
        raise KeyNameReserved(
            f"A deleted key holds the name {name}; recover or purge it first.",
            operation=operation,
            key=name,
            code="Conflict",
        )

    def forget_expired(self, now: datetime) -> None:
        """Drop deleted keys whose retention is over, as the real service does by itself."""
        limit = timedelta(days=self.config.retention_days)
        for key in list(self.keys.values()):
            if key.deleted_at is not None and key.deleted_at + limit <= now:
                del self.keys[key.name]


_hsms: dict[str, MemoryHsm] = {}
_hsms_lock = threading.Lock()


def memory_hsm(config: MemoryConfig) -> MemoryHsm:
    """The HSM of that name in this process, made at first use."""
    with _hsms_lock:
        return _hsms.setdefault(config.name, MemoryHsm(config))


def forget_memory_hsms() -> None:
    """Forget every simulated HSM: for the end of a test."""
    with _hsms_lock:
        _hsms.clear()


class MemoryProvider:
    """The provider over one :class:`MemoryHsm`."""

    kind = ProviderKind.MEMORY
    capabilities = frozenset({Capability.BACKUP, Capability.PURGE, Capability.ROTATE, Capability.UPDATE})

    def __init__(self, config: MemoryConfig, *, clock: Clock, timeouts: Timeouts) -> None:
        self._config = config
        self._clock = clock
        self._timeouts = timeouts
        self.hsm = memory_hsm(config)

    @property
    def origin(self) -> str:
        return f"memory:{self._config.name}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing to release."""

    def check_health(self, *, needed_rights: frozenset[str] | None = None) -> Iterator[HealthStep]:
        yield HealthStep(
            "address", "Address", StepOutcome.PASSED, f"The in-memory HSM {self._config.name} is here."
        )
        for right in Right:
            if needed_rights is None or right.value in needed_rights:
                yield self._right_step(right)

    def _right_step(self, right: Right) -> HealthStep:
        label = f"Right: {right.value.replace('_', ' ')}"
        if right in self.hsm.denied:
            return HealthStep(
                f"right:{right}",
                label,
                StepOutcome.FAILED,
                "The account does not have this right.",
                code="AccessDenied",
                remedy=f"Give the account the right {right}.",
            )
        return HealthStep(f"right:{right}", label, StepOutcome.PASSED, "The account has this right.")

    def create_key(self, spec: KeySpec) -> KeyInfo:
        """KeyAlreadyExists | KeyNameReserved."""
        with self._operation(Right.CREATE, spec.name) as now:
            self.hsm.require_free(spec.name, Right.CREATE)
            wanted = KeyAttributes(True, spec.not_before, spec.expires_at, spec.tags)
            version = new_version(spec.algorithm, wanted, now)
            key = StoredKey(spec.name, (version,), now)
            self.hsm.keys[spec.name] = key
            return self._info(key)

    def describe_key(self, ref: KeyRef) -> KeyInfo:
        """KeyNotFound."""
        with self._operation(Right.READ, ref.name):
            key = self.hsm.deleted(ref.name) or self.hsm.live(ref.name, Right.READ)
            return self._info(key, ref.version)

    def list_keys(self, *, deleted: bool = False) -> Iterator[KeyInfo]:
        with self._operation(Right.READ_DELETED if deleted else Right.READ):
            found = [
                replace(self._info(key), public_key_der=None, algorithm=None, ref=KeyRef(key.name))
                for key in self.hsm.keys.values()
                if (key.deleted_at is not None) is deleted
            ]
        yield from found

    def sign_digest(self, ref: KeyRef, digest: bytes, algorithm: SignatureAlgorithm) -> Signature:
        """KeyNotFound | UnsupportedOperation when key and algorithm do not fit | DigestMismatch."""
        require_digest(algorithm, digest)
        with self._operation(Right.SIGN, ref.name) as now:
            key = self.hsm.live(ref.name, Right.SIGN)
            version = find_version(key, ref.version, Right.SIGN)
            require_usable(key, version, now)
        if algorithm not in signature_algorithms(version.algorithm):
            raise UnsupportedOperation(
                f"A key of type {version.algorithm} cannot sign with {algorithm}.",
                operation=Right.SIGN,
                key=ref.name,
                code="BadParameter",
            )
        value = sign(version.private_key, digest, algorithm)
        return Signature(value, KeyRef(key.name, version.identifier), _request_id())

    def delete_key(self, ref: KeyRef) -> None:
        with self._operation(Right.DELETE, ref.name) as now:
            key = self.hsm.keys.get(ref.name)
            if key is not None and key.deleted_at is None:
                self.hsm.keys[ref.name] = replace(key, deleted_at=now)

    def backup_key(self, ref: KeyRef) -> KeyBackup:
        """KeyNotFound."""
        with self._operation(Right.BACKUP, ref.name):
            key = self.hsm.live(ref.name, Right.BACKUP)
        blob = dump(key, self._config.domain)
        return KeyBackup(blob=blob, origin=self.origin, request_id=_request_id(), name=key.name)

    def check_backup(self, backup: KeyBackup) -> None:
        """ForeignBackup."""
        self._load(backup)

    def restore_key(self, backup: KeyBackup) -> KeyInfo:
        """KeyAlreadyExists | KeyNameReserved | ForeignBackup."""
        with self._operation(Right.RESTORE, backup.name):
            key = self._load(backup)
            self.hsm.require_free(key.name, Right.RESTORE)
            self.hsm.keys[key.name] = key
            return self._info(key)

    def purge_key(self, ref: KeyRef) -> None:
        """PurgeProtected. A live key is left alone."""
        with self._operation(Right.PURGE, ref.name):
            if self.hsm.deleted(ref.name) is None:
                return
            if self._config.purge_protection:
                raise PurgeProtected(
                    f"This HSM keeps {ref.name} until its retention ends.",
                    operation=Right.PURGE,
                    key=ref.name,
                    code="Forbidden",
                )
            del self.hsm.keys[ref.name]

    def recover_key(self, ref: KeyRef) -> KeyInfo:
        """KeyNotFound | KeyAlreadyExists when it is live."""
        with self._operation(Right.RECOVER, ref.name):
            key = self.hsm.deleted(ref.name)
            if key is None:
                self.hsm.live(ref.name, Right.RECOVER)
                raise KeyAlreadyExists(f"The key {ref.name} is live.", operation=Right.RECOVER, key=ref.name)
            self.hsm.keys[ref.name] = replace(key, deleted_at=None)
            return self._info(self.hsm.keys[ref.name])

    def rotate_key(self, spec: KeySpec) -> KeyInfo:
        """KeyNotFound."""
        with self._operation(Right.CREATE, spec.name) as now:
            key = self.hsm.live(spec.name, Right.CREATE)
            wanted = KeyAttributes(True, spec.not_before, spec.expires_at, spec.tags)
            versions = (*key.versions, new_version(spec.algorithm, wanted, now))
            self.hsm.keys[spec.name] = replace(key, versions=versions, updated_at=now)
            return self._info(self.hsm.keys[spec.name])

    def update_key(self, ref: KeyRef, attributes: KeyAttributes) -> KeyInfo:
        """KeyNotFound."""
        with self._operation(Right.UPDATE, ref.name) as now:
            key = self.hsm.live(ref.name, Right.UPDATE)
            version = find_version(key, ref.version, Right.UPDATE)
            self.hsm.keys[ref.name] = with_attributes(key, version, attributes, now)
            return self._info(self.hsm.keys[ref.name], version.identifier)

    def list_versions(self, name: str) -> Iterator[KeyInfo]:
        with self._operation(Right.READ, name):
            key = self.hsm.live(name, Right.READ)
            found = [
                replace(self._info(key, version.identifier), public_key_der=None, algorithm=None)
                for version in key.versions
            ]
        yield from found

    @contextmanager
    def _operation(self, right: Right, name: str = "") -> Iterator[datetime]:
        now = self._clock()
        with self.hsm.operation(right, name):
            self.hsm.forget_expired(now)
            yield now

    def _load(self, backup: KeyBackup) -> StoredKey:
        try:
            domain, key = parse(backup.blob)
        except (ValueError, KeyError, TypeError) as err:
            raise _foreign("The backup blob is damaged or not one of this HSM's.", backup.name) from err
        if domain != self._config.domain:
            raise _foreign("The backup blob belongs to another security domain.", backup.name)
        return key

    def _info(self, key: StoredKey, version: str | None = None) -> KeyInfo:
        chosen = find_version(key, version, Right.READ)
        held = chosen.attributes
        retention = timedelta(days=self._config.retention_days)
        level = "Recoverable" if self._config.retention_days == 90 else "CustomizedRecoverable"
        return KeyInfo(
            ref=KeyRef(key.name, chosen.identifier),
            state=KeyState.SOFT_DELETED if key.deleted_at else KeyState.ACTIVE,
            public_key_der=public_der(chosen.private_key),
            algorithm=chosen.algorithm,
            created_at=chosen.created_at,
            updated_at=key.updated_at,
            enabled=held.enabled,
            not_before=held.not_before,
            expires_at=held.expires_at,
            recovery_level=level if self._config.purge_protection else f"{level}+Purgeable",
            purgeable=not self._config.purge_protection,
            deleted_at=key.deleted_at,
            scheduled_purge_at=key.deleted_at + retention if key.deleted_at else None,
            tags=dict(held.tags),
            request_id=_request_id(),
        )


def _foreign(message: str, name: str) -> ForeignBackup:
    return ForeignBackup(message, operation=Right.RESTORE, key=name, code="MalformedBackupBlob")


def _request_id() -> str:
    return secrets.token_hex(16)


def _renew_locks() -> None:
    """A thread that held a lock at the fork does not exist in the child: give the child new ones."""
    global _hsms_lock  # noqa: PLW0603  # the one module-level lock, replaced in a forked child only
    _hsms_lock = threading.Lock()
    for hsm in _hsms.values():
        hsm.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
