"""What a client sets on a key: parsing and checking the JSON of create, import and update."""

from dataclasses import replace
from typing import Any

from sandbox import errors
from sandbox.algorithms import DEFAULT_KEY_OPS, KEY_OPS
from sandbox.keystore import Attributes

_MAX_TAGS, _MAX_TAG_LENGTH = 15, 256
_MAX_TIME = 253402300799  # the end of the year 9999
_POLICY_TYPE = "application/json; charset=utf-8"


def parse_new(body: dict[str, Any], kty: str, now: int) -> Attributes:
    """The attributes of a new version. No key_ops, or an empty list, means the defaults of the key type."""
    given = _attributes(body)
    policy = _release_policy(body)
    exportable = _flag(given, "exportable", False)
    if exportable and policy is None:
        raise errors.bad_parameter("Exportable keys must have release policy")
    return Attributes(
        created=now,
        updated=now,
        key_ops=_key_ops(body) or DEFAULT_KEY_OPS[kty],
        enabled=_flag(given, "enabled", True),
        nbf=_time(given, "nbf"),
        exp=_time(given, "exp"),
        exportable=exportable,
        tags=_tags(body) or {},
        release_policy=policy,
    )


def merge(current: Attributes, body: dict[str, Any], now: int) -> Attributes:
    """The attributes after an update: what the body names changes, the rest stays."""
    given = _attributes(body)
    key_ops, tags, policy = _key_ops(body), _tags(body), _release_policy(body)
    if policy is not None and not current.exportable:
        raise errors.bad_parameter("Only exportable keys can have a release policy")
    return replace(
        current,
        updated=now,
        key_ops=current.key_ops if key_ops is None else key_ops,
        enabled=_flag(given, "enabled", current.enabled),
        nbf=_time(given, "nbf") if "nbf" in given else current.nbf,
        exp=_time(given, "exp") if "exp" in given else current.exp,
        tags=current.tags if tags is None else tags,
        release_policy=policy or current.release_policy,
    )


def _attributes(body: dict[str, Any]) -> dict[str, Any]:
    given = body.get("attributes", {})
    if not isinstance(given, dict):
        raise errors.bad_parameter("Property attributes has invalid value")
    return given


def _flag(given: dict[str, Any], name: str, default: bool) -> bool:
    value = given.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise errors.bad_parameter(f"Property attributes.{name} has invalid value")
    return value


def _time(given: dict[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_TIME:
        raise errors.bad_parameter(f"Property attributes.{name} has invalid value")
    return value


def _key_ops(body: dict[str, Any]) -> tuple[str, ...] | None:
    """The operations named, each once; None where the body does not say."""
    value = body.get("key_ops")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise errors.bad_parameter("Property key_ops has invalid value")
    unknown = [item for item in value if item not in KEY_OPS]
    if unknown:
        raise errors.bad_parameter(f"Invalid key operation: {unknown[0]}")
    return tuple(dict.fromkeys(value))


def _tags(body: dict[str, Any]) -> dict[str, str] | None:
    value = body.get("tags")
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > _MAX_TAGS:
        raise errors.bad_parameter("Property tags has invalid value")
    for name, text in value.items():
        if not isinstance(text, str) or len(name) > _MAX_TAG_LENGTH or len(text) > _MAX_TAG_LENGTH:
            raise errors.bad_parameter(f"Tag {name[:_MAX_TAG_LENGTH]} has invalid name or value")
    return value


def _release_policy(body: dict[str, Any]) -> dict[str, object] | None:
    value = body.get("release_policy")
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("data"), str):
        raise errors.bad_parameter("Property release_policy has invalid value")
    return {
        "contentType": value.get("contentType") or _POLICY_TYPE,
        "data": value["data"],
        "immutable": bool(value.get("immutable")),
    }
