"""One Managed HSM: the rules of what may happen to its keys. Knows nothing of HTTP or of who is asking."""

import re
import secrets
from dataclasses import dataclass, replace

from sandbox import backup, errors
from sandbox.clock import Clock
from sandbox.keystore import Attributes, Key, KeyStore, KeyVersion

MAX_KEYS, MAX_VERSIONS = 5000, 100
MIN_RETENTION, MAX_RETENTION = 7, 90
_DAY = 86400
_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")


@dataclass(frozen=True)
class HsmSettings:
    """What was fixed when the HSM was made. HSMs with the same ``domain_key`` share a security domain."""

    name: str
    retention_days: int
    purge_protection: bool
    domain_key: bytes

    @property
    def recovery_level(self) -> str:
        """The vendor's word for what can happen to a deleted key; no *Purgeable* means purge protection."""
        level = "Recoverable" if self.retention_days == MAX_RETENTION else "CustomizedRecoverable"
        return level if self.purge_protection else f"{level}+Purgeable"


def check_name(name: str) -> None:
    """Raises HsmError unless ``name`` is 1 to 127 letters, digits and hyphens."""
    if not _NAME.fullmatch(name):
        raise errors.invalid_name()


def new_version(kty: str, public: dict[str, str], private: bytes, attributes: Attributes) -> KeyVersion:
    return KeyVersion(secrets.token_hex(16), kty, public, private, attributes)


@dataclass(frozen=True)
class ManagedHsm:
    """An HSM as one request sees it. Key identifiers begin with ``base_url``: how the client addressed it."""

    base_url: str
    settings: HsmSettings
    keys: KeyStore
    clock: Clock

    # -- looking --

    def live(self, name: str) -> Key:
        """The live key of this name. Raises HsmError 404."""
        key = self.keys.get(self.settings.name, name)
        if key is None or key.is_deleted:
            raise errors.key_not_found(f"{self.base_url}/keys/{name}")
        return key

    def deleted(self, name: str) -> Key:
        """The soft-deleted key of this name. Raises HsmError 404."""
        self._purge_due()
        key = self.keys.get(self.settings.name, name)
        if key is None or not key.is_deleted:
            raise errors.key_not_found(f"{self.base_url}/deletedkeys/{name}")
        return key

    def version(self, name: str, version: str) -> tuple[Key, KeyVersion]:
        """A live key and one of its versions, the latest where ``version`` is empty. Raises HsmError 404."""
        key = self.live(name)
        found = key.find(version)
        if found is None:
            raise errors.key_not_found(f"{self.base_url}/keys/{name}/{version}")
        return key, found

    def page(self, *, deleted: bool, after: int, limit: int) -> list[Key]:
        """Up to ``limit`` keys made after the one with the id ``after``."""
        if deleted:
            self._purge_due()
        return self.keys.page(self.settings.name, deleted=deleted, after=after, limit=limit)

    # -- making and changing --

    def check_room(self, name: str) -> None:
        """Raises HsmError where nothing can be made: name soft-deleted, 100 versions, or 5,000 keys."""
        self._purge_due()
        key = self.keys.get(self.settings.name, name)
        if key is None:
            self._check_key_count()
        elif key.is_deleted:
            raise errors.name_is_soft_deleted(name)
        elif len(key.versions) >= MAX_VERSIONS:
            raise errors.too_many("key versions", MAX_VERSIONS)

    def add_version(self, name: str, version: KeyVersion) -> Key:
        """A first version under a free name, or one more under a live one."""
        self.check_room(name)
        return self.keys.add_version(self.settings.name, name, version)

    def update(self, name: str, version: str, attributes: Attributes) -> KeyVersion:
        key, found = self.version(name, version)
        self.keys.set_attributes(self.settings.name, key, found.version, attributes)
        return replace(found, attributes=attributes)

    # -- deleting --

    def delete(self, name: str) -> Key:
        """Soft-delete a live key with all its versions. Raises HsmError 404."""
        now = self.clock.timestamp()
        key = self.live(name)
        return self.keys.soft_delete(self.settings.name, key, now, now + self.settings.retention_days * _DAY)

    def recover(self, name: str) -> Key:
        return self.keys.recover(self.settings.name, self.deleted(name))

    def purge(self, name: str) -> None:
        """Raises HsmError 404, or 403 where purge protection keeps the key until its retention ends."""
        key = self.deleted(name)
        if self.settings.purge_protection:
            raise errors.purge_protected()
        self.keys.purge(self.settings.name, key)

    # -- backing up --

    def backup(self, name: str) -> str:
        return backup.seal(self.live(name), self.settings.domain_key)

    def restore(self, blob: object) -> Key:
        """Put a key back, versions and times and all. Raises HsmError 409 for a live or deleted name."""
        name, versions = backup.unseal(blob, self.settings.domain_key)
        self._purge_due()
        existing = self.keys.get(self.settings.name, name)
        if existing is not None:
            raise errors.name_is_soft_deleted(name) if existing.is_deleted else errors.name_is_live(name)
        self._check_key_count()
        return self.keys.add_key(self.settings.name, name, versions)

    # -- using --

    def check_usable(self, attributes: Attributes, operation: str) -> None:
        """Raises HsmError 403 unless the key is enabled, inside nbf and exp, and meant for ``operation``."""
        now = self.clock.timestamp()
        if not attributes.enabled:
            raise errors.operation_blocked(operation, "a disabled")
        if attributes.nbf is not None and now < attributes.nbf:
            raise errors.operation_blocked(operation, "a not yet valid")
        if attributes.exp is not None and now >= attributes.exp:
            raise errors.operation_blocked(operation, "an expired")
        self.check_permitted(attributes, operation)

    def check_permitted(self, attributes: Attributes, operation: str) -> None:
        """Raises HsmError 403 unless key_ops has ``operation``. Enough for what undoes an earlier use."""
        if operation not in attributes.key_ops:
            raise errors.operation_not_permitted(operation)

    def _purge_due(self) -> None:
        self.keys.purge_due(self.clock.timestamp())

    def _check_key_count(self) -> None:
        if self.keys.count(self.settings.name) >= MAX_KEYS:
            raise errors.too_many("keys", MAX_KEYS)
