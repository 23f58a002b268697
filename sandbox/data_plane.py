"""The operations on keys: from a request's JSON to the HSM's rules and back."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sandbox import attributes, b64, crypto, errors, material, paging, rotation
from sandbox.algorithms import RSA, signing
from sandbox.bundles import Json, deleted_bundle, deleted_item, key_bundle, key_id, key_item, version_item
from sandbox.hsm import ManagedHsm, new_version
from sandbox.keystore import Attributes, Key, KeyVersion

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """One authorised request."""

    hsm: ManagedHsm
    name: str
    version: str
    query: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """``body`` None means an empty answer."""

    body: Json | None
    status: int = 200


async def create(call: Call) -> Reply:
    spec = material.parse_spec(call.body)
    wanted = attributes.parse_new(call.body, spec.kty, call.hsm.clock.timestamp())
    return await _make_version(call, spec, wanted)


async def rotate(call: Call) -> Reply:
    """A new version of the same kind with the same key_ops, tags and release policy, enabled.

    It ends when the rotation policy says. Raises HsmError 400 for a key without a rotation policy.
    """
    key, now = call.hsm.live(call.name), call.hsm.clock.timestamp()
    policy = call.hsm.keys.rotation_policy(key)
    if policy is None:
        raise errors.no_rotation_policy()
    latest = key.latest
    kept = replace(latest.attributes, created=now, updated=now, enabled=True, nbf=None)
    fresh = replace(kept, exp=rotation.end_of_new_version(policy, now))
    return await _make_version(call, material.spec_of(latest.kty, latest.public, latest.private), fresh)


async def _make_version(call: Call, spec: material.KeySpec, wanted: Attributes) -> Reply:
    call.hsm.check_room(call.name)
    public, private = await _off_loop(spec.kty, material.generate, spec)
    key = call.hsm.add_version(call.name, new_version(spec.kty, public, private, wanted))
    return Reply(key_bundle(call.hsm, key.name, key.latest))


async def import_key(call: Call) -> Reply:
    jwk = call.body.get("key")
    if not isinstance(jwk, dict):
        raise errors.bad_parameter("Property key has invalid value")
    kty, public, private = material.from_jwk(jwk)
    wanted = attributes.parse_new(
        {"key_ops": jwk.get("key_ops"), **call.body}, kty, call.hsm.clock.timestamp()
    )
    key = call.hsm.add_version(call.name, new_version(kty, public, private, wanted))
    return Reply(key_bundle(call.hsm, key.name, key.latest))


async def get(call: Call) -> Reply:
    key, version = call.hsm.version(call.name, call.version)
    return Reply(key_bundle(call.hsm, key.name, version))


async def update(call: Call) -> Reply:
    key, version = call.hsm.version(call.name, call.version)
    changed = attributes.merge(version.attributes, call.body, call.hsm.clock.timestamp())
    return Reply(key_bundle(call.hsm, key.name, call.hsm.update(call.name, version.version, changed)))


async def list_keys(call: Call) -> Reply:
    return _key_page(call, "keys", key_item, deleted=False)


async def list_deleted(call: Call) -> Reply:
    return _key_page(call, "deletedkeys", deleted_item, deleted=True)


def _key_page(
    call: Call, collection: str, item: Callable[[ManagedHsm, Key], Json], *, deleted: bool
) -> Reply:
    limit = paging.limit(call.query)
    found = call.hsm.page(deleted=deleted, after=paging.position(call.query), limit=limit + 1)
    following = found[limit - 1].id if len(found) > limit else None
    items = [item(call.hsm, key) for key in found[:limit]]
    return Reply(paging.answer(f"{call.hsm.base_url}/{collection}", call.query, items, following))


async def list_versions(call: Call) -> Reply:
    key = call.hsm.live(call.name)
    start, limit = paging.position(call.query), paging.limit(call.query)
    items = [version_item(call.hsm, key.name, version) for version in key.versions[start : start + limit]]
    following = start + limit if start + limit < len(key.versions) else None
    return Reply(paging.answer(f"{call.hsm.base_url}/keys/{key.name}/versions", call.query, items, following))


async def rotation_policy(call: Call) -> Reply:
    return _show_policy(call, call.hsm.live(call.name))


async def set_rotation_policy(call: Call) -> Reply:
    key = call.hsm.live(call.name)
    wanted = rotation.parse(call.body, call.hsm.keys.rotation_policy(key), call.hsm.clock.timestamp())
    call.hsm.keys.set_rotation_policy(key, wanted)
    return _show_policy(call, key)


def _show_policy(call: Call, key: Key) -> Reply:
    url = f"{call.hsm.base_url}/keys/{key.name}/rotationpolicy"
    return Reply(rotation.show(call.hsm.keys.rotation_policy(key), url))


async def delete(call: Call) -> Reply:
    return Reply(deleted_bundle(call.hsm, call.hsm.delete(call.name)))


async def get_deleted(call: Call) -> Reply:
    return Reply(deleted_bundle(call.hsm, call.hsm.deleted(call.name)))


async def recover(call: Call) -> Reply:
    key = call.hsm.recover(call.name)
    return Reply(key_bundle(call.hsm, key.name, key.latest))


async def purge(call: Call) -> Reply:
    call.hsm.purge(call.name)
    return Reply(None, 204)


async def backup(call: Call) -> Reply:
    return Reply({"value": call.hsm.backup(call.name)})


async def restore(call: Call) -> Reply:
    key = call.hsm.restore(call.body.get("value"))
    return Reply(key_bundle(call.hsm, key.name, key.latest))


async def sign(call: Call) -> Reply:
    key, version = call.hsm.version(call.name, call.version)
    digest = _binary(call, "value")
    algorithm = signing(call.body.get("alg"), version.kty, version.public.get("crv"), digest)
    call.hsm.check_usable(version.attributes, "sign")
    loaded = material.load(version.kty, version.private)
    return _crypto_reply(
        call, key, version, await _off_loop(version.kty, crypto.sign, loaded, algorithm, digest)
    )


async def verify(call: Call) -> Reply:
    key, version = call.hsm.version(call.name, call.version)
    digest, signature = _binary(call, "digest"), _binary(call, "value")
    algorithm = signing(call.body.get("alg"), version.kty, version.public.get("crv"), digest)
    call.hsm.check_permitted(version.attributes, "verify")
    valid = crypto.verify(material.load(version.kty, version.private), algorithm, digest, signature)
    return Reply({"alg": call.body["alg"], "kid": key_id(call.hsm, key.name, version), "value": valid})


async def encrypt(call: Call) -> Reply:
    key, version = call.hsm.version(call.name, call.version)
    call.hsm.check_usable(version.attributes, "encrypt")
    loaded = material.load(version.kty, version.private)
    sealed = crypto.encrypt(
        loaded, _algorithm(call), _binary(call, "value"), _optional(call, "iv"), _optional(call, "aad")
    )
    extras = {"iv": sealed.iv, "tag": sealed.tag, "aad": sealed.aad}
    shown: Json = {member: b64.encode(value) for member, value in extras.items() if value is not None}
    return _crypto_reply(call, key, version, sealed.value, shown)


async def decrypt(call: Call) -> Reply:
    key, version = call.hsm.version(call.name, call.version)
    call.hsm.check_permitted(version.attributes, "decrypt")
    sealed = crypto.Sealed(
        _binary(call, "value"), _optional(call, "iv"), _optional(call, "tag"), _optional(call, "aad")
    )
    loaded = material.load(version.kty, version.private)
    return _crypto_reply(call, key, version, crypto.decrypt(loaded, _algorithm(call), sealed))


async def wrap_key(call: Call) -> Reply:
    key, version = call.hsm.version(call.name, call.version)
    call.hsm.check_usable(version.attributes, "wrapKey")
    loaded = material.load(version.kty, version.private)
    return _crypto_reply(call, key, version, crypto.wrap(loaded, _algorithm(call), _binary(call, "value")))


async def unwrap_key(call: Call) -> Reply:
    key, version = call.hsm.version(call.name, call.version)
    call.hsm.check_permitted(version.attributes, "unwrapKey")
    loaded = material.load(version.kty, version.private)
    return _crypto_reply(call, key, version, crypto.unwrap(loaded, _algorithm(call), _binary(call, "value")))


async def random_bytes(call: Call) -> Reply:
    count = call.body.get("count")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 128:
        raise errors.bad_parameter("Property count has invalid value")
    return Reply({"value": b64.encode(secrets.token_bytes(count))})


async def _off_loop(kty: str, function: Callable[..., T], *values: object) -> T:
    """RSA work, milliseconds to seconds of it, runs in a thread; the library lets others run meanwhile."""
    if kty == RSA:
        return await asyncio.to_thread(function, *values)
    return function(*values)


def _crypto_reply(
    call: Call, key: Key, version: KeyVersion, value: bytes, extras: Json | None = None
) -> Reply:
    shown = {"alg": call.body["alg"], "kid": key_id(call.hsm, key.name, version), "value": b64.encode(value)}
    return Reply(shown | (extras or {}))


def _algorithm(call: Call) -> str:
    value = call.body.get("alg")
    if not isinstance(value, str):
        raise errors.bad_parameter("Property alg has invalid value")
    return value


def _optional(call: Call, member: str) -> bytes | None:
    return None if call.body.get(member) is None else _binary(call, member)


def _binary(call: Call, member: str) -> bytes:
    try:
        return b64.decode(call.body[member])
    except (KeyError, ValueError, AttributeError) as err:
        raise errors.bad_parameter(f"Property {member} has invalid value") from err


OPERATIONS: dict[str, Callable[[Call], Awaitable[Reply]]] = {
    "create": create,
    "import": import_key,
    "get": get,
    "update": update,
    "list": list_keys,
    "list-versions": list_versions,
    "list-deleted": list_deleted,
    "rotate": rotate,
    "read rotationpolicy": rotation_policy,
    "write rotationpolicy": set_rotation_policy,
    "delete": delete,
    "get-deleted": get_deleted,
    "recover": recover,
    "purge": purge,
    "backup": backup,
    "restore": restore,
    "sign": sign,
    "verify": verify,
    "encrypt": encrypt,
    "decrypt": decrypt,
    "wrapkey": wrap_key,
    "unwrapkey": unwrap_key,
    "rng": random_bytes,
}
