"""The HSM's administrator at a command line: two ``az`` commands, understood strictly, done at the sandbox.

What the console shows for repairing a right is run here word for word, so a wrong option, a role that does
not parse or a scope that does not fit turns the journey red. The requests are those of the real program:
``PUT`` of a role definition and of a role assignment on the HSM's own host.
"""

import json
import shlex
import uuid
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, NoReturn

import requests

from tests.sandbox_server import SandboxServer

API = {"api-version": "7.4"}
SECONDS = 10


class NotAz(Exception):
    """The line is not one that the real program would take."""


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise NotAz(message)


class Az:
    """Signed in as an application with the role *Managed HSM Administrator*."""

    def __init__(self, hsm: SandboxServer, folder: Path) -> None:
        self._hsm = hsm
        self._folder = folder
        self._officer = hsm.add_app("HSM administration", ["Administrator"])

    def run(self, line: str) -> dict[str, Any]:
        """Carry out one command line. NotAz for another command; AssertionError where the HSM refuses."""
        words = shlex.split(line)
        match words[:5]:
            case ["az", "keyvault", "role", "definition", "create"]:
                return self._define(words[5:])
            case ["az", "keyvault", "role", "assignment", "create"]:
                return self._assign(words[5:])
        raise NotAz(line)

    def _define(self, words: list[str]) -> dict[str, Any]:
        parser = _Parser(allow_abbrev=False)
        parser.add_argument("--hsm-name", required=True)
        parser.add_argument("--role-definition", required=True)
        asked = parser.parse_args(words)
        self._check_name(asked.hsm_name)
        text = asked.role_definition
        role = json.loads((self._folder / text[1:]).read_text() if text.startswith("@") else text)
        permission = {
            name: role.get(name, []) for name in ("actions", "notActions", "dataActions", "notDataActions")
        }
        properties = {
            "roleName": role["roleName"],
            "description": role.get("description", ""),
            "permissions": [permission],
            "assignableScopes": role.get("assignableScopes", ["/"]),
            "type": "CustomRole",
        }
        return self._put("/", "roleDefinitions", properties)

    def _assign(self, words: list[str]) -> dict[str, Any]:
        parser = _Parser(allow_abbrev=False)
        for name in ("--hsm-name", "--role", "--scope"):
            parser.add_argument(name, required=True)
        parser.add_argument("--assignee-object-id", required=True)
        parser.add_argument("--assignee-principal-type", choices=["ServicePrincipal", "User", "Group"])
        asked = parser.parse_args(words)
        self._check_name(asked.hsm_name)
        properties = {
            "principalId": asked.assignee_object_id,
            "roleDefinitionId": self._role_called(asked.role),
        }
        return self._put(asked.scope, "roleAssignments", properties)

    def _check_name(self, hsm_name: str) -> None:
        if hsm_name not in self._hsm.hostnames:
            raise NotAz(f"no HSM is called {hsm_name}")

    def _role_called(self, title: str) -> str:
        answer = self._ask("GET", "/", "roleDefinitions")
        for role in answer["value"]:
            if title in (role["properties"]["roleName"], role["name"]):
                return str(role["id"])
        raise NotAz(f"no role is called {title}")

    def _put(self, scope: str, kind: str, properties: dict[str, Any]) -> dict[str, Any]:
        return self._ask("PUT", scope, f"{kind}/{uuid.uuid4()}", {"properties": properties})

    def _ask(self, method: str, scope: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = requests.request(
            method,
            f"{self._hsm.address()}{scope.rstrip('/')}/providers/Microsoft.Authorization/{path}",
            params=API,
            json=body,
            headers={"Authorization": f"Bearer {self._token()}"},
            verify=self._hsm.ca_file,
            timeout=SECONDS,
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    def _token(self) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._officer.application_id,
            "client_secret": self._officer.secret.value,
            "scope": f"{self._hsm.audience}/.default",
        }
        answer = requests.post(
            self._hsm.token_endpoint(), data=form, verify=self._hsm.ca_file, timeout=SECONDS
        )
        assert answer.ok, answer.text
        return str(answer.json()["access_token"])
