"""The tenant's directory and the HSMs' role assignments: applications, their secrets, who may do what."""

import json
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from sandbox.certificates import Certificates
from sandbox.database import Database
from sandbox.graph_rights import GraphRights
from sandbox.roles import BUILT_IN, CUSTOM, RoleDefinition

DEFAULT_APP = "Key Manager"
_REGISTRATIONS = uuid.UUID("1f3e7a54-9a0c-4c56-8d2b-6f0f3f6c2b9e")


@dataclass(frozen=True)
class App:
    """An app registration and its service principal, whose ``object_id`` roles are assigned to."""

    application_id: str
    object_id: str
    display_name: str

    @property
    def registration_id(self) -> str:
        """The object id of the registration, which is neither of the other two."""
        return str(uuid.uuid5(_REGISTRATIONS, self.application_id))


@dataclass(frozen=True)
class ClientSecret:
    """Usable from ``start_at`` up to, not including, ``end_at``: seconds since 1970."""

    key_id: str
    application_id: str
    value: str
    start_at: int
    end_at: int
    display_name: str = ""

    def __repr__(self) -> str:
        return f"ClientSecret(key_id={self.key_id!r}, end_at={self.end_at})"


@dataclass(frozen=True)
class RoleAssignment:
    name: str
    principal_id: str
    definition: str
    scope: str


def new_secret_value() -> str:
    """Forty characters in the form that the directory generates today."""
    text = secrets.token_urlsafe(40)
    return f"{text[:3]}8Q~{text[3:37]}"


class Directory:
    """Reads and single writes; the rules of who may do them are elsewhere."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.certificates = Certificates(database)
        self.graph_rights = GraphRights(database)

    # -- app registrations and secrets --

    def add_app(self, display_name: str) -> App:
        app = App(str(uuid.uuid4()), str(uuid.uuid4()), display_name)
        self._db.write("INSERT INTO app VALUES (?, ?, ?)", app.application_id, app.object_id, display_name)
        return app

    def apps(self) -> list[App]:
        return [
            App(*row)
            for row in self._db.rows("SELECT application_id, object_id, display_name FROM app ORDER BY rowid")
        ]

    def app(self, application_id: str) -> App | None:
        wanted = application_id.lower()
        return next((app for app in self.apps() if app.application_id == wanted), None)

    def default_app(self) -> App | None:
        return next((app for app in self.apps() if app.display_name == DEFAULT_APP), None)

    def remove_app(self, application_id: str) -> bool:
        return self._db.write("DELETE FROM app WHERE application_id = ?", application_id) == 1

    def add_secret(
        self,
        application_id: str,
        start: datetime,
        end: datetime,
        value: str | None = None,
        display_name: str = "",
    ) -> ClientSecret:
        secret = ClientSecret(
            str(uuid.uuid4()),
            application_id,
            value or new_secret_value(),
            int(start.timestamp()),
            int(end.timestamp()),
            display_name,
        )
        self._db.write(
            "INSERT INTO secret VALUES (?, ?, ?, ?, ?, ?)",
            secret.key_id,
            application_id,
            secret.value,
            secret.start_at,
            secret.end_at,
            display_name,
        )
        return secret

    def secrets(self, application_id: str) -> list[ClientSecret]:
        rows = self._db.rows(
            "SELECT key_id, application_id, value, start_at, end_at, display_name FROM secret "
            "WHERE application_id = ? ORDER BY rowid",
            application_id,
        )
        return [ClientSecret(*row) for row in rows]

    def end_secret(self, key_id: str, end: datetime) -> bool:
        return (
            self._db.write("UPDATE secret SET end_at = ? WHERE key_id = ?", int(end.timestamp()), key_id) == 1
        )

    def remove_secret(self, key_id: str) -> bool:
        return self._db.write("DELETE FROM secret WHERE key_id = ?", key_id) == 1

    # -- roles --

    def custom_roles(self, hsm: str) -> list[RoleDefinition]:
        rows = self._db.rows("SELECT * FROM role_definition WHERE hsm = ? ORDER BY rowid", hsm)
        return [
            RoleDefinition(
                row["name"],
                row["role_name"],
                frozenset(json.loads(row["actions"])),
                CUSTOM,
                row["description"],
                frozenset(json.loads(row["excluded"])),
            )
            for row in rows
        ]

    def roles(self, hsm: str) -> dict[str, RoleDefinition]:
        """Every role known to the HSM, built-in and custom, by GUID."""
        return BUILT_IN | {role.name: role for role in self.custom_roles(hsm)}

    def put_role(self, hsm: str, role: RoleDefinition) -> None:
        self._db.write(
            "INSERT OR REPLACE INTO role_definition VALUES (?, ?, ?, ?, ?, ?)",
            hsm,
            role.name,
            role.role_name,
            role.description,
            json.dumps(sorted(role.actions)),
            json.dumps(sorted(role.excluded)),
        )

    def remove_role(self, hsm: str, name: str) -> bool:
        return self._db.write("DELETE FROM role_definition WHERE hsm = ? AND name = ?", hsm, name) == 1

    def assignments(self, hsm: str) -> list[RoleAssignment]:
        rows = self._db.rows(
            "SELECT name, principal_id, definition, scope FROM role_assignment WHERE hsm = ? ORDER BY rowid",
            hsm,
        )
        return [RoleAssignment(*row) for row in rows]

    def assign(
        self, hsm: str, principal_id: str, definition: str, scope: str = "/", name: str | None = None
    ) -> RoleAssignment:
        assignment = RoleAssignment(name or str(uuid.uuid4()), principal_id, definition, scope)
        self._db.write(
            "INSERT INTO role_assignment VALUES (?, ?, ?, ?, ?)",
            hsm,
            assignment.name,
            principal_id,
            definition,
            scope,
        )
        return assignment

    def unassign(self, hsm: str, name: str) -> bool:
        return self._db.write("DELETE FROM role_assignment WHERE hsm = ? AND name = ?", hsm, name) == 1

    def permissions(self, hsm: str, principal_id: str) -> list[tuple[str, frozenset[str]]]:
        """Scope and data actions of each of the principal's assignments."""
        known = self.roles(hsm)
        return [
            (assignment.scope, known[assignment.definition].granted)
            for assignment in self.assignments(hsm)
            if assignment.principal_id == principal_id and assignment.definition in known
        ]


def from_timestamp(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
