"""The one SQLite file behind the sandbox: schema, transactions, and a cheap sign that something changed.

Write-ahead log with ``synchronous=NORMAL``: what was answered survives the death of the process, not always
that of the machine. Other processes may write to the same file; ``generation()`` tells a reader that its
memory is stale.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE IF NOT EXISTS security_domain (name TEXT PRIMARY KEY, backup_key BLOB NOT NULL) STRICT;

CREATE TABLE IF NOT EXISTS hsm (
    name TEXT PRIMARY KEY,
    security_domain TEXT NOT NULL REFERENCES security_domain (name),
    retention_days INTEGER NOT NULL CHECK (retention_days BETWEEN 7 AND 90),
    purge_protection INTEGER NOT NULL CHECK (purge_protection IN (0, 1))
) STRICT;

CREATE TABLE IF NOT EXISTS app (
    application_id TEXT PRIMARY KEY,
    object_id TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS secret (
    key_id TEXT PRIMARY KEY,
    application_id TEXT NOT NULL REFERENCES app (application_id) ON DELETE CASCADE,
    value TEXT NOT NULL,
    start_at INTEGER NOT NULL,
    end_at INTEGER NOT NULL,
    display_name TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS secret_by_app ON secret (application_id);

CREATE TABLE IF NOT EXISTS certificate (
    key_id TEXT PRIMARY KEY,
    application_id TEXT NOT NULL REFERENCES app (application_id) ON DELETE CASCADE,
    display_name TEXT NOT NULL,
    der BLOB NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS graph_permission (
    principal_id TEXT NOT NULL REFERENCES app (object_id) ON DELETE CASCADE,
    permission TEXT NOT NULL,
    PRIMARY KEY (principal_id, permission)
) STRICT;

CREATE TABLE IF NOT EXISTS app_owner (
    application_id TEXT NOT NULL REFERENCES app (application_id) ON DELETE CASCADE,
    principal_id TEXT NOT NULL REFERENCES app (object_id) ON DELETE CASCADE,
    PRIMARY KEY (application_id, principal_id)
) STRICT;

CREATE TABLE IF NOT EXISTS role_definition (
    hsm TEXT NOT NULL REFERENCES hsm (name),
    name TEXT NOT NULL,
    role_name TEXT NOT NULL,
    description TEXT NOT NULL,
    actions TEXT NOT NULL,
    excluded TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (hsm, name)
) STRICT;

CREATE TABLE IF NOT EXISTS role_assignment (
    hsm TEXT NOT NULL REFERENCES hsm (name),
    name TEXT NOT NULL,
    principal_id TEXT NOT NULL,
    definition TEXT NOT NULL,
    scope TEXT NOT NULL,
    PRIMARY KEY (hsm, name)
) STRICT;

CREATE TABLE IF NOT EXISTS managed_key (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hsm TEXT NOT NULL REFERENCES hsm (name),
    name TEXT NOT NULL COLLATE NOCASE,
    deleted_at INTEGER,
    purge_at INTEGER,
    UNIQUE (hsm, name),
    CHECK ((deleted_at IS NULL) = (purge_at IS NULL))
) STRICT;
CREATE INDEX IF NOT EXISTS key_due ON managed_key (purge_at) WHERE purge_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS key_version (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id INTEGER NOT NULL REFERENCES managed_key (id) ON DELETE CASCADE,
    version TEXT NOT NULL,
    kty TEXT NOT NULL,
    public TEXT NOT NULL,
    private BLOB NOT NULL,
    attributes TEXT NOT NULL,
    UNIQUE (key_id, version)
) STRICT;

CREATE TABLE IF NOT EXISTS rotation_policy (
    key_id INTEGER PRIMARY KEY REFERENCES managed_key (id) ON DELETE CASCADE,
    policy TEXT NOT NULL
) STRICT;
"""

# Columns that a data directory of an earlier sandbox lacks; always the last ones of their tables.
_LATER_COLUMNS = (
    ("role_definition", "excluded", "TEXT NOT NULL DEFAULT '[]'"),
    ("secret", "display_name", "TEXT NOT NULL DEFAULT ''"),
)


class Database:
    """One connection, for one thread. Open it where it is used."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        self._connection.row_factory = sqlite3.Row
        self._writes = 0
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(_SCHEMA)
        self._add_later_columns()

    def _add_later_columns(self) -> None:
        with self.transaction():
            for table, column, kind in _LATER_COLUMNS:
                if column not in {row["name"] for row in self.rows(f"PRAGMA table_info({table})")}:
                    self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")

    def close(self) -> None:
        self._connection.close()

    def generation(self) -> tuple[int, int]:
        """A value that differs whenever anything was committed, here or by another process."""
        other_writers: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return other_writers, self._writes

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: object) -> sqlite3.Row | None:
        found: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
        return found

    def write(self, sql: str, *values: object) -> int:
        """Run one statement; how many rows it changed. Inside ``transaction`` it commits with the rest."""
        self._writes += 1
        return self._connection.execute(sql, values).rowcount

    def insert(self, sql: str, *values: object) -> int:
        """Insert one row; its id."""
        self._writes += 1
        return self._connection.execute(sql, values).lastrowid or 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Takes the write lock at once, so that what is read inside stays true."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            self._writes += 1
            raise
        self._connection.execute("COMMIT")
        self._writes += 1
