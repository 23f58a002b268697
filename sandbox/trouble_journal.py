"""What lately happened to which key, and how a region sees keys that hears of changes late."""

from collections import deque
from dataclasses import dataclass

from sandbox import errors
from sandbox.database import Database
from sandbox.keystore import Attributes, Key, KeyStore, KeyVersion

CHANGING = frozenset(("create", "import", "update", "rotate", "delete", "recover", "purge", "restore"))


@dataclass(frozen=True)
class Change:
    """``at`` in seconds of the sandbox's clock; ``before`` is the key as it was, if any."""

    at: float
    op: str
    hsm: str
    name: str
    before: Key | None


class Journal:
    """The changes of the last ``reach`` seconds, oldest first. Names are compared without regard to case."""

    def __init__(self) -> None:
        self.reach = 0.0
        self._changes: deque[Change] = deque()

    def note(self, change: Change) -> None:
        self._changes.append(change)
        while self._changes and self._changes[0].at < change.at - self.reach:
            self._changes.popleft()

    def since(self, hsm: str, moment: float) -> list[Change]:
        """The changes on an HSM after ``moment``."""
        return [change for change in self._changes if change.hsm == hsm and change.at > moment]

    def first(self, hsm: str, name: str, moment: float) -> Change | None:
        """The first change of a key after ``moment``."""
        wanted = name.lower()
        return next((change for change in self.since(hsm, moment) if change.name.lower() == wanted), None)

    def was_purged(self, hsm: str, name: str, moment: float) -> bool:
        wanted = name.lower()
        return any(
            change.op == "purge" and change.name.lower() == wanted for change in self.since(hsm, moment)
        )


class LaggingKeys(KeyStore):
    """The keys as they were at ``moment``. What is written here is checked against the keys as they are."""

    def __init__(self, database: Database, genuine: KeyStore, journal: Journal, moment: float) -> None:
        super().__init__(database)
        self._genuine, self._journal, self._moment = genuine, journal, moment

    def get(self, hsm: str, name: str) -> Key | None:
        change = self._journal.first(hsm, name, self._moment)
        return self._genuine.get(hsm, name) if change is None else change.before

    def page(self, hsm: str, *, deleted: bool, after: int, limit: int) -> list[Key]:
        old: dict[str, Key | None] = {}
        for change in self._journal.since(hsm, self._moment):
            old.setdefault(change.name.lower(), change.before)
        found = self._genuine.page(hsm, deleted=deleted, after=after, limit=limit + len(old))
        shown = [key for key in found if key.name.lower() not in old]
        shown += [key for key in old.values() if key and key.is_deleted is deleted and key.id > after]
        return sorted(shown, key=lambda key: key.id)[:limit]

    def count(self, hsm: str) -> int:
        return self._genuine.count(hsm)

    def add_version(self, hsm: str, name: str, version: KeyVersion) -> Key:
        present = self._genuine.get(hsm, name)
        if present is not None and present.is_deleted:
            raise errors.name_is_soft_deleted(name)
        return self._genuine.add_version(hsm, name, version)

    def add_key(self, hsm: str, name: str, versions: tuple[KeyVersion, ...]) -> Key:
        present = self._genuine.get(hsm, name)
        if present is not None:
            raise errors.name_is_soft_deleted(name) if present.is_deleted else errors.name_is_live(name)
        return self._genuine.add_key(hsm, name, versions)

    def set_attributes(self, hsm: str, key: Key, version: str, attributes: Attributes) -> Key:
        present = self._present(hsm, key, deleted=False)
        return self._genuine.set_attributes(hsm, present, version, attributes)

    def soft_delete(self, hsm: str, key: Key, deleted_at: int, purge_at: int) -> Key:
        return self._genuine.soft_delete(hsm, self._present(hsm, key, deleted=False), deleted_at, purge_at)

    def recover(self, hsm: str, key: Key) -> Key:
        return self._genuine.recover(hsm, self._present(hsm, key, deleted=True))

    def purge(self, hsm: str, key: Key) -> None:
        self._genuine.purge(hsm, self._present(hsm, key, deleted=True))

    def purge_due(self, now: int) -> int:
        return self._genuine.purge_due(now)

    def _present(self, hsm: str, key: Key, *, deleted: bool) -> Key:
        """The key as it is. Raises HsmError 404 where it is not live, or not deleted, any more."""
        present = self._genuine.get(hsm, key.name)
        if present is None or present.is_deleted is not deleted:
            raise errors.key_not_found(key.name)
        return present
