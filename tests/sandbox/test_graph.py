"""Microsoft Graph: an application's passwords, listed, added and removed."""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import jwt
import pytest

from sandbox.graph_rights import PERMISSIONS, READ_ALL, WRITE_ALL, WRITE_OWNED
from tests.sandbox.assertions import make_pair
from tests.sandbox.wire import Answer, Wire
from tests.sandbox_server import RegisteredApp, SandboxServer

GRAPH = "https://graph.microsoft.com"
GUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
PASSWORD = {
    "customKeyIdentifier",
    "displayName",
    "endDateTime",
    "hint",
    "keyId",
    "secretText",
    "startDateTime",
}


@dataclass
class GraphClient:
    """Somebody with a token for Graph, or with what is sent instead of one."""

    wire: Wire
    app: RegisteredApp
    token: str = field(default="")

    def __post_init__(self) -> None:
        if not self.token:
            answer = self.wire.ask_for_token(
                client_id=self.app.application_id,
                client_secret=self.app.secret.value,
                scope=f"{GRAPH}/.default",
            )
            self.token = answer.body["access_token"]

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}"} | headers
        return self.wire.send(method, f"/v1.0/{path}", body, headers)

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.call(method, path, body)
        assert answer.status in {200, 204}, answer
        return answer.body


def client(server: SandboxServer, *permissions: str) -> GraphClient:
    return GraphClient(Wire(server), server.add_app(grants=permissions))


@pytest.fixture(scope="module")
def administrator(server: SandboxServer) -> GraphClient:
    return client(server, WRITE_ALL)


@pytest.fixture
def app(server: SandboxServer) -> Iterator[RegisteredApp]:
    """The application that is looked at and changed."""
    made = server.add_app("Looked at", grants=[])
    yield made
    server.remove_app(made.application_id)


def one(app: RegisteredApp) -> str:
    return f"applications(appId='{app.application_id}')"


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.body["error"]["code"]) == (status, code), answer.body
    error = answer.body["error"]
    assert set(error) == {"code", "message", "innerError"}
    assert set(error["innerError"]) == {"date", "request-id", "client-request-id"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", error["innerError"]["date"])
    assert error["innerError"]["request-id"] == answer.headers["request-id"]


# -- reading --


def test_application_by_either_id_and_by_filter(administrator: GraphClient, app: RegisteredApp) -> None:
    found = administrator.ok("GET", one(app))
    assert found["@odata.context"].endswith("/v1.0/$metadata#applications/$entity")
    assert (found["appId"], found["displayName"]) == (app.application_id, "Looked at")
    assert found["id"] not in {app.application_id, app.object_id}, "the registration's own object id"
    assert administrator.ok("GET", f"applications/{found['id']}") == found
    assert administrator.ok("GET", one(app).replace("'", "%27")) == found
    assert (
        administrator.ok("GET", one(app).upper().replace("APPLICATIONS(APPID", "applications(appId")) == found
    )
    asked = quote(f"appId eq '{app.application_id}'")
    listed = administrator.ok("GET", f"applications?$filter={asked}")
    assert listed["@odata.context"].endswith("/v1.0/$metadata#applications")
    assert [item["id"] for item in listed["value"]] == [found["id"]]
    by_name = administrator.ok("GET", "applications?$filter=displayName%20eq%20'looked%20at'")
    assert [item["id"] for item in by_name["value"]] == [found["id"]]
    assert administrator.ok("GET", f"applications?$filter=appId%20eq%20'{uuid.uuid4()}'")["value"] == []
    assert len(administrator.ok("GET", "applications")["value"]) >= 3


def test_password_credentials(administrator: GraphClient, app: RegisteredApp) -> None:
    found = administrator.ok("GET", f"{one(app)}?$select=passwordCredentials")
    assert set(found) == {"@odata.context", "passwordCredentials"}
    assert found["@odata.context"].endswith("$metadata#applications(passwordCredentials)/$entity")
    (shown,) = found["passwordCredentials"]
    assert set(shown) == PASSWORD
    assert (shown["keyId"], shown["hint"]) == (app.secret.key_id, app.secret.value[:3])
    assert shown["secretText"] is None
    begins, ends = (datetime.fromisoformat(shown[name]) for name in ("startDateTime", "endDateTime"))
    assert ends - begins == timedelta(days=730)
    assert shown["endDateTime"].endswith("Z")


def test_key_credentials(server: SandboxServer, administrator: GraphClient, app: RegisteredApp) -> None:
    pair = make_pair()
    where = f"apps/{app.application_id}/certificates"
    made = server.control("POST", where, {"certificate": pair.public_pem, "display_name": "Console"})
    (shown,) = administrator.ok("GET", one(app))["keyCredentials"]
    assert shown == {
        "customKeyIdentifier": made["thumbprint"],
        "displayName": "Console",
        "endDateTime": f"{pair.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "key": None,
        "keyId": made["key_id"],
        "startDateTime": f"{pair.certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    }
    (selected,) = administrator.ok("GET", f"{one(app)}?$select=keyCredentials")["keyCredentials"]
    assert selected["key"] in pair.public_pem.replace("\n", "")


# -- passwords --


def test_add_and_remove(server: SandboxServer, administrator: GraphClient, app: RegisteredApp) -> None:
    asked = {"passwordCredential": {"displayName": "Console, November"}}
    made = administrator.ok("POST", f"{one(app)}/addPassword", asked)
    assert set(made) == PASSWORD | {"@odata.context"}
    assert made["@odata.context"].endswith("$metadata#microsoft.graph.passwordCredential")
    assert (made["displayName"], made["hint"]) == ("Console, November", made["secretText"][:3])
    assert len(made["secretText"]) == 40
    assert re.fullmatch(GUID, made["keyId"])

    listed = administrator.ok("GET", f"{one(app)}?$select=passwordCredentials")["passwordCredentials"]
    assert [item["keyId"] for item in listed] == [app.secret.key_id, made["keyId"]]
    assert made["secretText"] not in str(listed), "its text is told once"
    form = {"client_id": app.application_id, "scope": f"{server.audience}/.default"}
    wire = Wire(server)
    assert wire.ask_for_token(client_secret=made["secretText"], **form).status == 200

    id_ = administrator.ok("GET", one(app))["id"]
    removed = administrator.call("POST", f"applications/{id_}/removePassword", {"keyId": made["keyId"]})
    assert (removed.status, removed.body) == (204, None)
    assert wire.ask_for_token(client_secret=made["secretText"], **form).body["error_codes"] == [7000215]
    again = administrator.call("POST", f"applications/{id_}/removePassword", {"keyId": made["keyId"]})
    assert_refused(again, 400, "Request_BadRequest")
    assert again.body["error"]["message"] == "No password credential found with keyId."


def test_dates_of_a_new_password(administrator: GraphClient, app: RegisteredApp) -> None:
    path = f"{one(app)}/addPassword"
    plain = administrator.ok("POST", path)
    begins = datetime.fromisoformat(plain["startDateTime"])
    assert abs(begins - datetime.now(UTC)) < timedelta(minutes=1)
    assert datetime.fromisoformat(plain["endDateTime"]) - begins == timedelta(days=730)
    assert plain["displayName"] is None
    dates = {"startDateTime": "2030-01-01T00:00:00Z", "endDateTime": "2030-02-01T12:30:00+02:00"}
    made = administrator.ok("POST", path, {"passwordCredential": dates})
    assert (made["startDateTime"], made["endDateTime"]) == ("2030-01-01T00:00:00Z", "2030-02-01T10:30:00Z")


@pytest.mark.parametrize(
    "given",
    [
        {"startDateTime": "2030-01-01T00:00:00Z", "endDateTime": "2029-01-01T00:00:00Z"},
        {"endDateTime": "tomorrow"},
        {"endDateTime": "2030-01-01T00:00:00"},
        {"displayName": "x" * 257},
        {"displayName": 7},
        "x",
    ],
)
def test_refused_passwords(administrator: GraphClient, app: RegisteredApp, given: Any) -> None:
    answer = administrator.call("POST", f"{one(app)}/addPassword", {"passwordCredential": given})
    assert_refused(answer, 400, "Request_BadRequest")
    assert len(administrator.ok("GET", one(app))["passwordCredentials"]) == 1


def test_removing_another_applications_password(
    server: SandboxServer, administrator: GraphClient, app: RegisteredApp
) -> None:
    other = server.add_app(grants=[])
    body = {"keyId": other.secret.key_id}
    assert_refused(administrator.call("POST", f"{one(app)}/removePassword", body), 400, "Request_BadRequest")
    assert_refused(administrator.call("POST", f"{one(app)}/removePassword", {}), 400, "Request_BadRequest")
    assert len(administrator.ok("GET", one(other))["passwordCredentials"]) == 1


# -- rights --


def test_roles_stand_in_the_token(server: SandboxServer) -> None:
    asker = client(server, READ_ALL, WRITE_OWNED)
    claims = jwt.decode(asker.token, options={"verify_signature": False})
    assert (claims["aud"], claims["roles"]) == (GRAPH, [READ_ALL, WRITE_OWNED])
    for_the_hsm = Wire(server, application_id=asker.app.application_id, secret=asker.app.secret.value)
    token = for_the_hsm.fetch_token(server.audience).body["access_token"]
    assert "roles" not in jwt.decode(token, options={"verify_signature": False})
    nobody = jwt.decode(client(server).token, options={"verify_signature": False})
    assert "roles" not in nobody


def test_what_each_permission_allows(server: SandboxServer, app: RegisteredApp) -> None:
    def statuses(asker: GraphClient, target: RegisteredApp) -> list[int]:
        added = asker.call("POST", f"{one(target)}/addPassword")
        body = {"keyId": added.body.get("keyId", str(uuid.uuid4()))}
        removed = asker.call("POST", f"{one(target)}/removePassword", body)
        return [asker.call("GET", one(target)).status, added.status, removed.status]

    reader, owner, writer = (client(server, what) for what in (READ_ALL, WRITE_OWNED, WRITE_ALL))
    assert statuses(client(server), app) == [403, 403, 403]
    assert statuses(reader, app) == statuses(reader, reader.app) == [200, 403, 403]
    assert statuses(writer, app) == [200, 200, 204]
    assert statuses(owner, app) == [403, 403, 403]
    assert statuses(owner, owner.app) == [200, 200, 204], "granting it makes the application own itself"
    assert owner.call("GET", "applications").status == 200, "listing is allowed to all three"
    assert_refused(client(server).call("GET", "applications"), 403, "Authorization_RequestDenied")
    assert_refused(reader.call("POST", f"{one(app)}/addPassword"), 403, "Authorization_RequestDenied")


def test_ownership_holds_from_the_next_request(server: SandboxServer, app: RegisteredApp) -> None:
    owner = client(server, WRITE_OWNED)
    where, body = f"apps/{app.application_id}/owners", {"owner": owner.app.application_id}
    server.control("POST", where, body)
    assert owner.call("POST", f"{one(app)}/addPassword").status == 200
    server.control("DELETE", where, body)
    assert owner.call("POST", f"{one(app)}/addPassword").status == 403
    with pytest.raises(RuntimeError, match=" 404 "):
        server.control("POST", where, {"owner": str(uuid.uuid4())})


def test_a_permission_holds_from_the_next_token(server: SandboxServer, app: RegisteredApp) -> None:
    asker = client(server, READ_ALL)
    server.revoke(READ_ALL, application_id=asker.app.application_id)
    assert asker.call("GET", one(app)).status == 200
    assert GraphClient(asker.wire, asker.app).call("GET", one(app)).status == 403


def test_unknown_grants_are_refused(server: SandboxServer, app: RegisteredApp) -> None:
    for what in ("Application.Read.Everything", "keys/fly/action", ""):
        with pytest.raises(RuntimeError, match=" 400 "):
            server.grant(what, application_id=app.application_id)
    assert len(PERMISSIONS) == 3


# -- refusals --


def test_tokens_are_checked(server: SandboxServer, administrator: GraphClient) -> None:
    wire, path = Wire(server), "/v1.0/applications"
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Basic eA=="}):
        missing = wire.send("GET", path, headers=headers)
        assert_refused(missing, 401, "InvalidAuthenticationToken")
        assert missing.body["error"]["message"] == "Access token is empty."
        assert "authorization_uri=" in missing.headers["www-authenticate"]
    foreign = wire.send("GET", path, headers=wire.authorization())
    assert_refused(foreign, 401, "InvalidAuthenticationToken")
    assert foreign.body["error"]["message"] == "Access token validation failure. Invalid audience."
    garbage = wire.send("GET", path, headers={"Authorization": "Bearer a.b.c"})
    assert_refused(garbage, 401, "InvalidAuthenticationToken")
    at_the_hsm = {"Authorization": f"Bearer {administrator.token}"}
    assert wire.send("GET", "/keys?api-version=7.4", headers=at_the_hsm).status == 401


def test_expired_token(own_server: SandboxServer) -> None:
    asker = client(own_server, READ_ALL)
    own_server.advance_clock(90000)
    answer = asker.call("GET", "applications")
    assert_refused(answer, 401, "InvalidAuthenticationToken")
    assert answer.body["error"]["message"] == "Lifetime validation failed, the token is expired."


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "users", 400, "BadRequest"),
        ("GET", "applications/x/owners", 400, "BadRequest"),
        ("GET", "applications/x/addPassword/y", 400, "BadRequest"),
        ("GET", "applications/x/addPassword", 405, "Request_BadRequest"),
        ("DELETE", "applications/x", 405, "Request_BadRequest"),
        ("POST", "applications", 405, "Request_BadRequest"),
        ("GET", "applications/00000000-0000-0000-0000-000000000000", 404, "Request_ResourceNotFound"),
        ("POST", "applications(appId='x')/addPassword", 404, "Request_ResourceNotFound"),
        ("GET", "applications?$filter=startswith(displayName,'K')", 400, "Request_UnsupportedQuery"),
        ("GET", "applications?$select=secrets", 400, "BadRequest"),
    ],
)
def test_refused_requests(administrator: GraphClient, method: str, path: str, status: int, code: str) -> None:
    assert_refused(administrator.call(method, path), status, code)


def test_the_other_object_id_is_not_the_applications(administrator: GraphClient, app: RegisteredApp) -> None:
    for wrong in (app.object_id, app.application_id):
        answer = administrator.call("GET", f"applications/{wrong}")
        assert_refused(answer, 404, "Request_ResourceNotFound")
        assert wrong in answer.body["error"]["message"]


def test_body_must_be_json(administrator: GraphClient, app: RegisteredApp) -> None:
    answer = administrator.call("POST", f"{one(app)}/addPassword", b"{")
    assert_refused(answer, 400, "Request_BadRequest")


def test_headers_and_counts(own_server: SandboxServer) -> None:
    asker = client(own_server, READ_ALL)
    mine = str(uuid.uuid4())
    answer = asker.call("GET", "applications", **{"client-request-id": mine})
    assert answer.headers["client-request-id"] == mine
    assert answer.headers["content-type"].startswith("application/json;odata.metadata=minimal")
    assert answer.headers["odata-version"] == "4.0"
    assert own_server.requests()["graph list 200"] == 1
