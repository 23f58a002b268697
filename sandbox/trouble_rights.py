"""The directory of role assignments as the HSM reads it while rules of trouble take roles away."""

from sandbox.database import Database
from sandbox.directory import Directory, RoleAssignment
from sandbox.trouble import Trouble
from sandbox.trouble_rules import Rule


class TroubledDirectory(Directory):
    """Leaves out the assignments of lost roles: who lists them does not see them either."""

    def __init__(self, database: Database, trouble: Trouble) -> None:
        super().__init__(database)
        self._trouble = trouble

    def assignments(self, hsm: str) -> list[RoleAssignment]:
        found = super().assignments(hsm)
        lost = self._trouble.lost_roles(hsm) if self._trouble.active else []
        for loaded in lost:
            kept = [item for item in found if not self._is_lost(item, loaded.rule)]
            loaded.matched += 1
            loaded.hits += len(kept) < len(found)
            found = kept
        return found

    def _is_lost(self, assignment: RoleAssignment, rule: Rule) -> bool:
        if rule.role not in {"*", assignment.definition}:
            return False
        app = self.app(rule.application) if rule.application else None
        return not rule.application or (app is not None and app.object_id == assignment.principal_id)
