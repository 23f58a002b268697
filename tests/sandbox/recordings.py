"""Recorded sessions of the real service, to be replayed against a sandbox.

A session's requests are sent again in their order. What cannot be the same is put in its place: key names get
a prefix so that sessions do not meet; versions, backups, ciphertexts and signatures of the recording become
those of the sandbox; a key that the recording found already there is made first.
"""

import gzip
import json
import re
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.sandbox.wire import Answer, Wire, unb64

FILE, DIRECTORY_FILE = "managed-hsm.jsonl.gz", "entra-token.jsonl"
# 7.0 and 7.1 answer like 7.2, the first version that the sandbox speaks.
_VERSIONS = {"7.0": "7.2", "7.1": "7.2"}
# Secure key release, and selective restore, which has no name of its own.
_LEFT_OUT = {"release", "PUT"}
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Exchange:
    """One recorded request and its answer. Header names are in lower case."""

    op: str
    method: str
    path: str
    query: dict[str, str]
    request: Any
    answer: Answer

    def __str__(self) -> str:
        return f"{self.op}-{self.answer.status}"

    @property
    def version(self) -> str:
        recorded = self.query.get("api-version", "7.2")
        return _VERSIONS.get(recorded, recorded)

    @property
    def is_compared(self) -> bool:
        blocked = "User triggered Restore" in json.dumps(self.answer.body)
        return self.op not in _LEFT_OUT and "preview" not in self.version and not blocked

    @cached_property
    def parts(self) -> list[str]:
        return [unquote(part) for part in self.path.split("/")[1:]]

    @property
    def name(self) -> str:
        """The key that the request is about; empty where it is about none."""
        known = self.parts[0] in {"keys", "deletedkeys"} and len(self.parts) > 1
        return self.parts[1] if known and self.parts[1] not in {"restore", "providers"} else ""


@dataclass(frozen=True)
class Session:
    number: int
    path: str
    exchanges: list[Exchange]

    def __repr__(self) -> str:
        return f"{self.number}-{self.path.rpartition('/')[2]}"


def load(folder: Path) -> list[Session]:
    """Every session with something to compare."""
    with gzip.open(folder / FILE, "rt") as lines:
        found = [_session(number, json.loads(line)) for number, line in enumerate(lines)]
    return [session for session in found if session.exchanges]


def _session(number: int, line: dict[str, Any]) -> Session:
    exchanges = [_exchange(item) for item in line["exchanges"]]
    return Session(number, line["path"], [item for item in exchanges if item.is_compared])


def _exchange(item: dict[str, Any]) -> Exchange:
    query = {name: values[0] for name, values in parse_qs(item["query"] or "").items()}
    headers = {name.lower(): value for name, value in item["headers"].items()}
    answer = Answer(item["status"], headers, item["body"])
    return Exchange(item["op"], item["method"], item["path"], query, item["request_body"], answer)


def load_directory(folder: Path) -> list[Exchange]:
    """The recorded requests to the directory itself (not to its on-premises and managed identity kin)."""
    found = [json.loads(line) for line in (folder / DIRECTORY_FILE).read_text().splitlines()]
    return [
        _directory_exchange(item)
        for item in found
        if "login.microsoftonline" in item["url"] and "devicecode" not in item["url"]
    ]


def _directory_exchange(item: dict[str, Any]) -> Exchange:
    path = urlsplit(item["url"]).path
    headers = {name.lower(): value for name, value in item["headers"].items()}
    answer = Answer(item["status"], headers, item["body"])
    return Exchange(path.rpartition("/")[2], item["method"], path, {}, item["request_body"], answer)


@dataclass
class Replay:
    """Sends one session's requests, keeping track of what stands for what."""

    wire: Wire
    prefix: str
    versions: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    guids: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def answer(self, exchange: Exchange) -> Answer:
        """The sandbox's answer to a recorded request."""
        if exchange.answer.status == 401:
            return self.wire.send(exchange.method, self._path(exchange))
        self._arrange(exchange)
        path = self._path(exchange) + self._query(exchange)
        answer = self.wire.send(exchange.method, path, self._body(exchange), self.wire.authorization())
        self._learn(exchange, answer)
        return answer

    def _path(self, exchange: Exchange) -> str:
        path = exchange.path
        if exchange.name and "%" not in path:
            path = path.replace(f"/{exchange.name}", f"/{self.prefix}{exchange.name}", 1)
        for recorded, ours in (self.versions | self.guids).items():
            path = path.replace(recorded, ours)
        return path

    def _query(self, exchange: Exchange) -> str:
        query = {name: value for name, value in exchange.query.items() if name != "$skiptoken"}
        if "api-version" in query:
            query["api-version"] = exchange.version
        token = self.tokens.get(exchange.query.get("$skiptoken", ""))
        if token is not None:
            query["$skiptoken"] = token
        else:
            query["api-version"] = exchange.version
        return "?" + "&".join(f"{name}={value}" for name, value in query.items())

    def _body(self, exchange: Exchange) -> Any:
        body = exchange.request
        if exchange.op == "rbac" and isinstance(body, dict):
            return json.loads(_GUID.sub(self._guid, json.dumps(body)))
        if exchange.op in {"decrypt", "unwrapkey"} and isinstance(body, dict):
            return self._sealed(exchange)
        if isinstance(body, dict) and body.get("value") in self.values:
            return body | {"value": self.values[body["value"]]}
        return body

    def _guid(self, found: "re.Match[str]") -> str:
        """A principal of our own for each recorded one; built-in roles stay what they are."""
        if found.string[: found.start()].endswith("roleDefinitions/"):
            return found[0]
        return self.guids.setdefault(found[0], str(uuid.uuid4()))

    def _sealed(self, exchange: Exchange) -> dict[str, Any]:
        """What the recorded answer says was inside, sealed with our key."""
        seal = "encrypt" if exchange.op == "decrypt" else "wrapkey"
        plain = {"alg": exchange.request["alg"], "value": exchange.answer.body["value"]}
        plain |= {member: exchange.request[member] for member in ("iv", "aad") if member in exchange.request}
        path = self._path(exchange).replace(f"/{exchange.op}", f"/{seal}")
        sealed: dict[str, Any] = self.wire.ok("POST", path, plain)
        wanted = {member: sealed[member] for member in ("value", "iv", "tag") if member in sealed}
        request: dict[str, Any] = exchange.request
        return request | wanted

    def _arrange(self, exchange: Exchange) -> None:
        """Make the key that the recorded request found, where this session did not make it."""
        if exchange.op == "rbac":
            if exchange.method == "PUT":
                self.guids.setdefault(exchange.parts[-1], str(uuid.uuid4()))
            return
        if not exchange.name or exchange.answer.status >= 400 or exchange.op in {"create", "import"}:
            return
        name = f"{self.prefix}{exchange.name}"
        wanted = "deletedkeys" if exchange.parts[0] == "deletedkeys" else "keys"
        if self.wire.call("GET", f"/{wanted}/{name}").status == 200:
            return
        if self.wire.call("GET", f"/keys/{name}").status == 404:
            self.wire.create(name, **_like(exchange))
        if wanted == "deletedkeys":
            self.wire.delete(name)

    def _learn(self, exchange: Exchange, answer: Answer) -> None:
        recorded, ours = exchange.answer.body, answer.body
        if not isinstance(recorded, dict) or not isinstance(ours, dict):
            return
        for before, after in ((recorded, ours), (recorded.get("key"), ours.get("key"))):
            if isinstance(before, dict) and isinstance(after, dict) and "kid" in before and "kid" in after:
                self.versions[before["kid"].rpartition("/")[2]] = after["kid"].rpartition("/")[2]
        if isinstance(recorded.get("value"), str) and isinstance(ours.get("value"), str):
            self.values[recorded["value"]] = ours["value"]
        if "nextLink" in recorded and "nextLink" in ours:
            token = recorded["nextLink"].partition("$skiptoken=")[2]
            self.tokens[token] = ours["nextLink"].partition("$skiptoken=")[2]


def _like(exchange: Exchange) -> dict[str, Any]:
    """What makes a key like the one in the recorded answer."""
    body = exchange.answer.body
    if not isinstance(body, dict) or not isinstance(body.get("key"), dict):
        return {"kty": "RSA-HSM"}
    like = {member: body["key"][member] for member in ("kty", "crv", "key_ops") if member in body["key"]}
    size = len(unb64(body["key"].get("n", ""))) * 8
    return like | ({"key_size": size} if size in {2048, 3072, 4096} else {})
