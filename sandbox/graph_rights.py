"""What applications may do in the directory itself: their application permissions, and whom they own.

A permission comes into force with the next token, which names it in its ``roles`` claim, as in the real
directory; ownership with the next request.
"""

from sandbox.database import Database

READ_ALL = "Application.Read.All"
WRITE_OWNED = "Application.ReadWrite.OwnedBy"
WRITE_ALL = "Application.ReadWrite.All"
PERMISSIONS = frozenset((READ_ALL, WRITE_OWNED, WRITE_ALL))


class GraphRights:
    """The permissions and ownerships of all applications, by object id of their service principals."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def of(self, principal_id: str) -> list[str]:
        rows = self._db.rows(
            "SELECT permission FROM graph_permission WHERE principal_id = ? ORDER BY 1", principal_id
        )
        return [row["permission"] for row in rows]

    def grant(self, principal_id: str, permission: str) -> None:
        """Give a permission; idempotent. Raises ValueError for an unknown one."""
        if permission not in PERMISSIONS:
            raise ValueError(f"unknown permission {permission}")
        self._db.write("INSERT OR IGNORE INTO graph_permission VALUES (?, ?)", principal_id, permission)

    def revoke(self, principal_id: str, permission: str) -> None:
        self._db.write(
            "DELETE FROM graph_permission WHERE principal_id = ? AND permission = ?", principal_id, permission
        )

    def owns(self, principal_id: str, application_id: str) -> bool:
        sql = "SELECT 1 FROM app_owner WHERE principal_id = ? AND application_id = ?"
        return self._db.row(sql, principal_id, application_id) is not None

    def add_owner(self, application_id: str, principal_id: str) -> None:
        """Make the principal an owner of the application; idempotent."""
        self._db.write("INSERT OR IGNORE INTO app_owner VALUES (?, ?)", application_id, principal_id)

    def remove_owner(self, application_id: str, principal_id: str) -> None:
        self._db.write(
            "DELETE FROM app_owner WHERE application_id = ? AND principal_id = ?",
            application_id,
            principal_id,
        )
