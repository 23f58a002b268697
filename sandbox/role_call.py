"""One authorised request on the roles of an HSM, and what its operations have in common."""

import re
from dataclasses import dataclass
from typing import Any

from sandbox import errors
from sandbox.directory import Directory
from sandbox.roles import RoleDefinition
from sandbox.routes import Route

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class RoleCall:
    directory: Directory
    hsm: str
    route: Route
    query: dict[str, str]
    body: dict[str, Any]

    @property
    def name(self) -> str:
        """The assignment's or definition's GUID from the path. Raises HsmError 400 for another name."""
        return guid(self.route.name, "name")

    @property
    def properties(self) -> dict[str, Any]:
        properties = self.body.get("properties")
        if not isinstance(properties, dict):
            raise errors.bad_parameter("Property properties has invalid value")
        return properties

    @property
    def filter(self) -> str:
        return self.query.get("$filter", "").strip()

    def role(self, name: str) -> RoleDefinition:
        """The role of this GUID. Raises HsmError 404."""
        found = self.directory.roles(self.hsm).get(name)
        if found is None:
            raise errors.role_object_not_found("definition", name)
        return found


def guid(value: object, name: str) -> str:
    """``value`` in lower case. Raises HsmError 400 unless it is a GUID."""
    if not isinstance(value, str) or not _GUID.fullmatch(value.lower()):
        raise errors.bad_parameter(f"Property {name} is not a GUID")
    return value.lower()
