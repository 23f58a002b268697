"""From method and path to operation. Clients send empty versions, double slashes and trailing slashes."""

from dataclasses import dataclass
from urllib.parse import unquote

from sandbox import errors
from sandbox.hsm import check_name


@dataclass(frozen=True)
class Route:
    """``op`` names the operation; ``scope`` is where its data action must be granted."""

    op: str
    action: str
    scope: str
    name: str = ""
    version: str = ""


# Operation, and the data action that it needs.
_COLLECTION = {"GET": ("list", "keys/read/action")}
_KEY = {
    "GET": ("get", "keys/read/action"),
    "PUT": ("import", "keys/import/action"),
    "PATCH": ("update", "keys/write/action"),
    "DELETE": ("delete", "keys/delete"),
}
_VERSION = {"GET": _KEY["GET"], "PATCH": _KEY["PATCH"]}
_KEY_ACTIONS = {
    ("GET", "versions"): ("list-versions", "keys/read/action"),
    ("GET", "rotationpolicy"): ("read rotationpolicy", "keys/read/action"),
    ("PUT", "rotationpolicy"): ("write rotationpolicy", "keys/write/action"),
    ("POST", "create"): ("create", "keys/create"),
    ("POST", "backup"): ("backup", "keys/backup/action"),
    ("POST", "rotate"): ("rotate", "keys/rotate/action"),
}
_CRYPTO_ACTIONS = {
    "sign": ("sign", "keys/sign/action"),
    "verify": ("verify", "keys/verify/action"),
    "encrypt": ("encrypt", "keys/encrypt/action"),
    "decrypt": ("decrypt", "keys/decrypt/action"),
    "wrapkey": ("wrapkey", "keys/wrap/action"),
    "unwrapkey": ("unwrapkey", "keys/unwrap/action"),
}
_DELETED_COLLECTION = {"GET": ("list-deleted", "keys/deletedKeys/read/action")}
_DELETED = {
    "GET": ("get-deleted", "keys/deletedKeys/read/action"),
    "DELETE": ("purge", "keys/deletedKeys/delete"),
}
_RECOVER = {"POST": ("recover", "keys/deletedKeys/recover/action")}
_ALL_KEYS = "/keys"
_RBAC = "Microsoft.Authorization"
_RBAC_VERBS = {"GET": "read", "PUT": "write", "DELETE": "delete"}


def parse(method: str, path: str) -> Route:
    """The operation asked for. Raises HsmError for bad names and for what the service does not know."""
    parts = [unquote(part) for part in path.split("/")[1:]]
    while parts and not parts[-1]:
        parts.pop()
    if _RBAC in parts:
        return _rbac(method, path, parts)
    match parts:
        case ["keys", *rest]:
            return _in_keys(method, path, rest)
        case ["deletedkeys", *rest]:
            return _in_deleted(method, path, rest)
        case ["rng"] if method == "POST":
            return Route("rng", "rng/action", "/")
    raise errors.route_not_found(path)


def _in_keys(method: str, path: str, rest: list[str]) -> Route:
    match rest:
        case []:
            return _plain(method, _COLLECTION)
        case ["restore"] if method == "POST":
            return Route("restore", "keys/restore/action", _ALL_KEYS)
        case [name]:
            return _on_key(method, _KEY, name)
        case [name, action] if method in {"POST", "PUT"} or (method, action) in _KEY_ACTIONS:
            return _key_action(method, name, "", action)
        case [name, version]:
            return _on_key(method, _VERSION, name, version)
        case [name, version, action]:
            return _key_action(method, name, version, action)
    raise errors.route_not_found(path)


def _in_deleted(method: str, path: str, rest: list[str]) -> Route:
    match rest:
        case []:
            return _plain(method, _DELETED_COLLECTION)
        case [name]:
            return _on_key(method, _DELETED, name)
        case [name, "recover"]:
            return _on_key(method, _RECOVER, name)
    raise errors.route_not_found(path)


def _plain(method: str, table: dict[str, tuple[str, str]]) -> Route:
    if method not in table:
        raise errors.method_not_allowed(method)
    op, action = table[method]
    return Route(op, action, _ALL_KEYS)


def _on_key(method: str, table: dict[str, tuple[str, str]], name: str, version: str = "") -> Route:
    if method not in table:
        raise errors.method_not_allowed(method)
    check_name(name)
    op, action = table[method]
    return Route(op, action, f"/keys/{name}", name, version)


def _key_action(method: str, name: str, version: str, action: str) -> Route:
    check_name(name)
    found = _CRYPTO_ACTIONS.get(action) if method == "POST" else None
    if found is None and not version:
        found = _KEY_ACTIONS.get((method, action))
    if found is None:
        raise errors.not_supported(action)
    op, data_action = found
    return Route(op, data_action, f"/keys/{name}", name, version)


def _rbac(method: str, path: str, parts: list[str]) -> Route:
    """``{scope}/providers/Microsoft.Authorization/{kind}`` and, for one of them, its name behind."""
    at = parts.index(_RBAC)
    where = "/" + "/".join(part for part in parts[: at - 1] if part)
    verb = _RBAC_VERBS.get(method)
    match parts[at - 1 : at], parts[at + 1 :]:
        case ["providers"], [("roleAssignments" | "roleDefinitions") as kind] if method == "GET":
            return Route(f"list {kind}", f"{kind}/read/action", where)
        case ["providers"], [("roleAssignments" | "roleDefinitions") as kind, name] if verb:
            return Route(f"{verb} {kind}", f"{kind}/{verb}/action", where, name)
    raise errors.route_not_found(path)
