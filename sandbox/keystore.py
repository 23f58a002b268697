"""Keys on disk and in memory: names, their versions, and whether a name is live or soft-deleted."""

import json
import sqlite3
from dataclasses import asdict, dataclass, field

from sandbox import rotation
from sandbox.database import Database


@dataclass(frozen=True)
class Attributes:
    """What a client may set on a version. Times in seconds since 1970."""

    created: int
    updated: int
    key_ops: tuple[str, ...]
    enabled: bool = True
    nbf: int | None = None
    exp: int | None = None
    exportable: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    release_policy: dict[str, object] | None = None


@dataclass(frozen=True)
class KeyVersion:
    """``version`` is 32 hex digits, ``public`` the JWK's public members, ``private`` PKCS#8 or raw bytes."""

    version: str
    kty: str
    public: dict[str, str]
    private: bytes = field(repr=False)
    attributes: Attributes


@dataclass(frozen=True)
class Key:
    """A key name with its versions, oldest first; at least one. Soft-deleted when ``deleted_at`` is set."""

    id: int
    name: str
    versions: tuple[KeyVersion, ...]
    deleted_at: int | None = None
    purge_at: int | None = None

    @property
    def is_deleted(self) -> bool:
        return self.deleted_at is not None

    @property
    def latest(self) -> KeyVersion:
        return self.versions[-1]

    def find(self, version: str) -> KeyVersion | None:
        """The version named, or the latest for an empty name."""
        if not version:
            return self.latest
        return next((item for item in self.versions if item.version == version), None)


def encode_attributes(attributes: Attributes) -> str:
    return json.dumps(asdict(attributes))


def decode_attributes(text: str) -> Attributes:
    values = json.loads(text)
    values["key_ops"] = tuple(values["key_ops"])
    return Attributes(**values)


def _version(row: sqlite3.Row) -> KeyVersion:
    return KeyVersion(
        row["version"],
        row["kty"],
        json.loads(row["public"]),
        row["private"],
        decode_attributes(row["attributes"]),
    )


class KeyStore:
    """Keys of all HSMs. Reads are remembered until the next write, whoever makes it."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._memory: dict[tuple[str, str], Key] = {}

    def forget(self) -> None:
        """Drop what is remembered, because another process wrote."""
        self._memory.clear()

    def get(self, hsm: str, name: str) -> Key | None:
        """The key of this name, live or soft-deleted. Names are compared without regard to case."""
        remembered = self._memory.get((hsm, name.lower()))
        if remembered is not None:
            return remembered
        row = self._db.row("SELECT * FROM managed_key WHERE hsm = ? AND name = ?", hsm, name)
        if row is None:
            return None
        key = self._load(row)
        self._memory[hsm, name.lower()] = key
        return key

    def page(self, hsm: str, *, deleted: bool, after: int, limit: int) -> list[Key]:
        """Up to ``limit`` keys with an id above ``after``, in the order in which they were made."""
        rows = self._db.rows(
            "SELECT * FROM managed_key WHERE hsm = ? AND id > ? AND (deleted_at IS NOT NULL) = ? "
            "ORDER BY id LIMIT ?",
            hsm,
            after,
            deleted,
            limit,
        )
        return [self._load(row) for row in rows]

    def count(self, hsm: str) -> int:
        row = self._db.row("SELECT count(*) FROM managed_key WHERE hsm = ?", hsm)
        return int(row[0]) if row else 0

    def add_version(self, hsm: str, name: str, version: KeyVersion) -> Key:
        """Append a version, making the name where it is new. Both or neither."""
        with self._db.transaction():
            key = self.get(hsm, name)
            key_id = key.id if key else self._insert_key(hsm, name)
            self._insert_version(key_id, version)
        return self._reload(hsm, name)

    def add_key(self, hsm: str, name: str, versions: tuple[KeyVersion, ...]) -> Key:
        """Make a new name with all its versions, oldest first. All or none."""
        with self._db.transaction():
            key_id = self._insert_key(hsm, name)
            for version in versions:
                self._insert_version(key_id, version)
        return self._reload(hsm, name)

    def set_attributes(self, hsm: str, key: Key, version: str, attributes: Attributes) -> Key:
        self._db.write(
            "UPDATE key_version SET attributes = ? WHERE key_id = ? AND version = ?",
            encode_attributes(attributes),
            key.id,
            version,
        )
        return self._reload(hsm, key.name)

    def rotation_policy(self, key: Key) -> rotation.Policy | None:
        row = self._db.row("SELECT policy FROM rotation_policy WHERE key_id = ?", key.id)
        return rotation.decode(row["policy"]) if row else None

    def set_rotation_policy(self, key: Key, policy: rotation.Policy) -> None:
        """Keep the policy, or drop the old one where the new one is blank."""
        with self._db.transaction():
            self._db.write("DELETE FROM rotation_policy WHERE key_id = ?", key.id)
            if not policy.is_blank:
                text = rotation.encode(policy)
                self._db.write("INSERT INTO rotation_policy VALUES (?, ?)", key.id, text)

    def soft_delete(self, hsm: str, key: Key, deleted_at: int, purge_at: int) -> Key:
        self._db.write(
            "UPDATE managed_key SET deleted_at = ?, purge_at = ? WHERE id = ?", deleted_at, purge_at, key.id
        )
        return self._reload(hsm, key.name)

    def recover(self, hsm: str, key: Key) -> Key:
        self._db.write("UPDATE managed_key SET deleted_at = NULL, purge_at = NULL WHERE id = ?", key.id)
        return self._reload(hsm, key.name)

    def purge(self, hsm: str, key: Key) -> None:
        self._db.write("DELETE FROM managed_key WHERE id = ?", key.id)
        self._memory.pop((hsm, key.name.lower()), None)

    def purge_due(self, now: int) -> int:
        """Purge every key whose retention has ended; how many."""
        if self._db.row("SELECT 1 FROM managed_key WHERE purge_at <= ? LIMIT 1", now) is None:
            return 0
        self.forget()
        return self._db.write("DELETE FROM managed_key WHERE purge_at <= ?", now)

    def _load(self, row: sqlite3.Row) -> Key:
        versions = self._db.rows("SELECT * FROM key_version WHERE key_id = ? ORDER BY id", row["id"])
        return Key(row["id"], row["name"], tuple(map(_version, versions)), row["deleted_at"], row["purge_at"])

    def _reload(self, hsm: str, name: str) -> Key:
        self._memory.pop((hsm, name.lower()), None)
        key = self.get(hsm, name)
        if key is None:
            raise LookupError(name)
        return key

    def _insert_key(self, hsm: str, name: str) -> int:
        return self._db.insert("INSERT INTO managed_key (hsm, name) VALUES (?, ?)", hsm, name)

    def _insert_version(self, key_id: int, version: KeyVersion) -> None:
        self._db.insert(
            "INSERT INTO key_version (key_id, version, kty, public, private, attributes) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            key_id,
            version.version,
            version.kty,
            json.dumps(version.public),
            version.private,
            encode_attributes(version.attributes),
        )
