"""The Azure Managed HSM provider."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from cryptosources.providers.algorithms import SignatureAlgorithm, require_digest
from cryptosources.providers.api import (
    Capability,
    Clock,
    HealthStep,
    KeyAttributes,
    KeyBackup,
    KeyInfo,
    KeyRef,
    KeySpec,
    ProviderKind,
    Right,
    Signature,
)
from cryptosources.providers.azure import wire
from cryptosources.providers.azure.client import Answer, HsmClient
from cryptosources.providers.azure.deadline import current_call, provider_call
from cryptosources.providers.azure.errors import odd_answer
from cryptosources.providers.azure.health import ConnectionTest
from cryptosources.providers.azure.tables import Conflict
from cryptosources.providers.config import AzureConfig, Timeouts
from cryptosources.providers.errors import (
    AccessDenied,
    ForeignBackup,
    KeyAlreadyExists,
    KeyMismatch,
    KeyNameReserved,
    KeyNotFound,
    OutcomeUnknown,
    ProviderError,
    PurgeProtected,
    UnsupportedOperation,
)
from cryptosources.providers.signatures import raw_to_der

Value = TypeVar("Value")
_PAGE: Final = 25


class AzureManagedHsm:
    """One Managed HSM, signed in to as one application.

    The client (session, credential) is made at the first call and again in a forked child, which must
    not share its parent's connections. Addresses and certificates are checked then, too.
    """

    kind = ProviderKind.AZURE_MANAGED_HSM
    capabilities = frozenset({Capability.BACKUP, Capability.PURGE, Capability.ROTATE, Capability.UPDATE})

    def __init__(self, config: AzureConfig, *, clock: Clock, timeouts: Timeouts) -> None:
        self._config = config
        self._clock = clock
        self._timeouts = timeouts
        self._client: HsmClient | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()

    @property
    def origin(self) -> str:
        return self._config.base_url

    def __repr__(self) -> str:
        return f"AzureManagedHsm({self._config.base_url})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        self._forget_parent()
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def check_health(self, *, needed_rights: frozenset[str] | None = None) -> Iterator[HealthStep]:
        return ConnectionTest(self._config, self._clock, self._timeouts).run(needed_rights)

    # --- Keys -----------------------------------------------------------------------------------

    def create_key(self, spec: KeySpec) -> KeyInfo:
        """KeyAlreadyExists | KeyNameReserved.

        The name is looked up first, because the service adds a version to a key that exists. Between
        the look and the creation nobody else may create it: one writer per key is the caller's rule.
        """
        with self._call(Right.CREATE, KeyRef(spec.name)) as hsm:
            if self._find_live(hsm, spec.name) is not None:
                raise _already_exists()
            try:
                answer = hsm.send("POST", f"keys/{spec.name}/create", wire.create_body(spec))
            except Conflict as err:
                raise self._explained(hsm, spec.name, err) from err
            return _info(answer)

    def describe_key(self, ref: KeyRef) -> KeyInfo:
        """KeyNotFound. One request for a live key, two for a deleted or absent one."""
        with self._call(Right.READ, ref) as hsm:
            try:
                return _info(hsm.send("GET", wire.key_path(ref)))
            except KeyNotFound:
                return _info(hsm.send("GET", f"deletedkeys/{ref.name}"))

    def list_keys(self, *, deleted: bool = False) -> Iterator[KeyInfo]:
        if deleted:
            return self._pages(Right.READ_DELETED, f"deletedkeys?maxresults={_PAGE}")
        return self._pages(Right.READ, f"keys?maxresults={_PAGE}")

    def sign_digest(self, ref: KeyRef, digest: bytes, algorithm: SignatureAlgorithm) -> Signature:
        """KeyNotFound | UnsupportedOperation | DigestMismatch. One request, with or without a version."""
        require_digest(algorithm, digest)
        with self._call(Right.SIGN, ref) as hsm:
            body = {"alg": algorithm.value, "value": wire.encode(digest)}
            answer = hsm.send("POST", wire.key_path(ref, "sign"), body)
            return _read(answer, lambda content: _signature(content, ref, algorithm, answer.request_id))

    def delete_key(self, ref: KeyRef) -> None:
        """Visible at once among the deleted keys: a Managed HSM needs no waiting."""
        with self._call(Right.DELETE, ref) as hsm:
            try:
                hsm.send("DELETE", f"keys/{ref.name}")
            except KeyNotFound:
                return

    # --- Backup and restore ---------------------------------------------------------------------

    def backup_key(self, ref: KeyRef) -> KeyBackup:
        """KeyNotFound. The blob holds every version."""
        with self._call(Right.BACKUP, ref) as hsm:
            answer = hsm.send("POST", f"keys/{ref.name}/backup")
            blob = _read(answer, lambda content: wire.decode(content["value"]))
            return KeyBackup(blob, self.origin, answer.request_id, ref.name)

    def check_backup(self, backup: KeyBackup) -> None:
        """ForeignBackup. Looks at the blob only; nothing is sent."""
        try:
            wire.require_backup_form(backup.blob)
        except ValueError as err:
            raise ForeignBackup(
                f"The backup blob is damaged: {err}.", operation=Right.RESTORE, key=backup.name
            ) from err

    def restore_key(self, backup: KeyBackup) -> KeyInfo:
        """KeyAlreadyExists | KeyNameReserved | ForeignBackup."""
        with self._call(Right.RESTORE, KeyRef(backup.name) if backup.name else None) as hsm:
            try:
                return _info(hsm.send("POST", "keys/restore", {"value": wire.encode(backup.blob)}))
            except Conflict as err:
                if not backup.name:
                    raise
                raise self._explained(hsm, backup.name, err) from err

    # --- Purge and recover ----------------------------------------------------------------------

    def purge_key(self, ref: KeyRef) -> None:
        """PurgeProtected. A live key is left alone."""
        with self._call(Right.PURGE, ref) as hsm:
            try:
                hsm.send("DELETE", f"deletedkeys/{ref.name}")
            except KeyNotFound:
                return
            except (AccessDenied, Conflict, UnsupportedOperation) as err:
                if getattr(err, "missing_right", "") or not self._is_protected(hsm, ref.name):
                    raise
                raise _purge_protected(err) from err

    def recover_key(self, ref: KeyRef) -> KeyInfo:
        """KeyNotFound | KeyAlreadyExists when it is live."""
        with self._call(Right.RECOVER, ref) as hsm:
            try:
                return _info(hsm.send("POST", f"deletedkeys/{ref.name}/recover"))
            except (KeyNotFound, Conflict) as err:
                if self._find_live(hsm, ref.name) is None:
                    raise
                raise _already_exists() from err

    # --- Rotate and update ----------------------------------------------------------------------

    def rotate_key(self, spec: KeySpec) -> KeyInfo:
        """KeyNotFound | KeyMismatch. OutcomeUnknown leaves open whether there is a new version: list them.

        The service adds a version when an existing name is created again. Its own *rotate* is not used: it
        demands a rotation policy, which would then end versions by itself (*Configure key auto-rotation in
        Azure Managed HSM*). Where the name became free after the look, *create* begins a new key: the
        version seen before is looked for afterwards.
        """
        with self._call(Right.CREATE, KeyRef(spec.name)) as hsm:
            before = _info(hsm.send("GET", wire.key_path(KeyRef(spec.name))))
            try:
                made = _info(hsm.send("POST", f"keys/{spec.name}/create", wire.create_body(spec)))
            except Conflict as err:
                raise self._gone_meanwhile(hsm, spec.name, err) from err
            self._require_still_there(hsm, before.ref, made)
            return made

    def update_key(self, ref: KeyRef, attributes: KeyAttributes) -> KeyInfo:
        """KeyNotFound. The same update twice is the same, so an unknown outcome may be tried again."""
        with self._call(Right.UPDATE, ref) as hsm:
            return _info(hsm.send("PATCH", wire.key_path(ref), wire.update_body(attributes)))

    def list_versions(self, name: str) -> Iterator[KeyInfo]:
        """KeyNotFound."""
        ref, found = KeyRef(name), False
        _require_names(Right.READ, ref)
        for info in self._pages(Right.READ, f"keys/{name}/versions?maxresults={_PAGE}", ref):
            found = True
            yield info
        if not found:
            raise KeyNotFound("There is no such key.", operation=Right.READ, key=name)

    # --- How a call is made ---------------------------------------------------------------------

    @contextmanager
    def _call(self, right: Right, ref: KeyRef | None) -> Iterator[HsmClient]:
        """A call with its deadline, and the client. ``ref`` None: no key is named."""
        if ref is not None:
            _require_names(right, ref)
        with provider_call(right.value, self._timeouts, ref.name if ref else ""):
            yield self._made_client()

    def _made_client(self) -> HsmClient:
        self._forget_parent()
        with self._lock:
            if self._client is None:
                self._client = HsmClient(self._config, self._timeouts)
            return self._client

    def _forget_parent(self) -> None:
        """In a forked child: its parent's sockets are not its own, and its lock may be held for ever."""
        if self._owner != os.getpid():
            self._owner, self._lock, self._client = os.getpid(), threading.Lock(), None

    def _pages(self, right: Right, path: str, ref: KeyRef | None = None) -> Iterator[KeyInfo]:
        """Every item of every page. Each page is a call of its own; pages may be shorter than asked."""
        seen: set[str] = set()
        while path:
            seen.add(path)
            with self._call(right, ref) as hsm:
                answer = hsm.send("GET", path)
                items = _read(answer, lambda content: [_item(each) for each in content["value"] or ()])
                path = str(answer.body.get("nextLink") or "")
                if path in seen:
                    raise odd_answer(current_call(), "its pages go round in a circle")
            yield from items

    def _find_live(self, hsm: HsmClient, name: str) -> KeyInfo | None:
        try:
            return _info(hsm.send("GET", f"keys/{name}/"))
        except KeyNotFound:
            return None

    def _explained(self, hsm: HsmClient, name: str, conflict: Conflict) -> ProviderError:
        """What holds the name: KeyAlreadyExists, KeyNameReserved, or the conflict itself."""
        if self._find_live(hsm, name) is not None:
            return _already_exists()
        try:
            hsm.send("GET", f"deletedkeys/{name}")
        except KeyNotFound:
            return conflict
        call = current_call()
        return KeyNameReserved(
            "A deleted key holds this name until it is recovered or purged.",
            operation=call.operation,
            key=call.key,
            code=conflict.code,
            request_id=conflict.request_id,
        )

    def _gone_meanwhile(self, hsm: HsmClient, name: str, conflict: Conflict) -> ProviderError:
        """KeyNotFound when the key was deleted after it was looked at; the conflict itself otherwise."""
        if not isinstance(self._explained(hsm, name, conflict), KeyNameReserved):
            return conflict
        return KeyNotFound(
            "The key was deleted meanwhile; it has no new version.",
            operation=current_call().operation,
            key=name,
            code=conflict.code,
            request_id=conflict.request_id,
        )

    def _require_still_there(self, hsm: HsmClient, before: KeyRef, made: KeyInfo) -> None:
        """KeyMismatch when the earlier version is gone; OutcomeUnknown when the HSM does not tell."""
        try:
            hsm.send("GET", wire.key_path(before))
        except KeyNotFound as err:
            raise KeyMismatch(
                f"The key vanished while a version was added to it, so a new key of its name was made, with "
                f"version {made.ref.version}. It is not the key on record: delete it in the HSM.",
                operation=current_call().operation,
                key=before.name,
                request_id=made.request_id,
            ) from err
        except ProviderError as err:
            raise OutcomeUnknown(
                "A version was added, but the HSM did not tell whether the earlier one is still there.",
                operation=current_call().operation,
                key=before.name,
                request_id=err.request_id,
            ) from err

    def _is_protected(self, hsm: HsmClient, name: str) -> bool:
        try:
            return not _info(hsm.send("GET", f"deletedkeys/{name}")).purgeable
        except ProviderError:
            return False


def _require_names(right: Right, ref: KeyRef) -> None:
    """UnsupportedOperation for a key name or version that no Managed HSM has."""
    try:
        wire.key_path(ref)
    except ValueError as err:
        raise UnsupportedOperation(f"{err}.", operation=right, key=ref.name) from err


def _already_exists() -> KeyAlreadyExists:
    call = current_call()
    return KeyAlreadyExists("A key with this name exists.", operation=call.operation, key=call.key)


def _purge_protected(refusal: ProviderError) -> PurgeProtected:
    return PurgeProtected(
        "This HSM keeps deleted keys until their retention ends (purge protection).",
        operation=refusal.operation,
        key=refusal.key,
        code=refusal.code,
        request_id=refusal.request_id,
    )


def _read(answer: Answer, reader: Callable[[Mapping[str, Any]], Value]) -> Value:
    """What ``reader`` makes of the answer; an answer of another form is none of a Managed HSM."""
    try:
        return reader(answer.body)
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise odd_answer(current_call(), "a field is missing or has another form") from err


def _info(answer: Answer) -> KeyInfo:
    return _read(answer, lambda content: wire.key_info(content, answer.request_id))


def _item(item: Mapping[str, Any]) -> KeyInfo:
    return wire.key_info(item)


def _signature(
    content: Mapping[str, Any], ref: KeyRef, algorithm: SignatureAlgorithm, request_id: str
) -> Signature:
    """The signature in the answer; ValueError when it is of another key or version."""
    key = wire.key_ref(content["kid"])
    if key.name != ref.name or (ref.version is not None and key.version != ref.version):
        raise ValueError("signed with another key")
    value = wire.decode(content["value"])
    return Signature(raw_to_der(value, algorithm) if algorithm.is_ecdsa else value, key, request_id)
