"""How keys look on the wire: the JSON of key and deleted key, whole and in lists."""

from sandbox.hsm import ManagedHsm
from sandbox.keystore import Attributes, Key, KeyVersion

Json = dict[str, object]


def key_bundle(hsm: ManagedHsm, name: str, version: KeyVersion) -> Json:
    bundle: Json = {"attributes": _attributes(hsm, version.attributes), "key": _jwk(hsm, name, version)}
    return bundle | _extras(version.attributes)


def deleted_bundle(hsm: ManagedHsm, key: Key) -> Json:
    return key_bundle(hsm, key.name, key.latest) | _deletion(hsm, key)


def key_item(hsm: ManagedHsm, key: Key) -> Json:
    """An entry of the list of keys: the latest version's attributes, an identifier without a version."""
    return _item(hsm, f"{hsm.base_url}/keys/{key.name}", key.latest.attributes)


def version_item(hsm: ManagedHsm, name: str, version: KeyVersion) -> Json:
    return _item(hsm, f"{hsm.base_url}/keys/{name}/{version.version}", version.attributes)


def deleted_item(hsm: ManagedHsm, key: Key) -> Json:
    return key_item(hsm, key) | _deletion(hsm, key)


def key_id(hsm: ManagedHsm, name: str, version: KeyVersion) -> str:
    return f"{hsm.base_url}/keys/{name}/{version.version}"


def _item(hsm: ManagedHsm, kid: str, attributes: Attributes) -> Json:
    item: Json = {"kid": kid, "attributes": _attributes(hsm, attributes)}
    if attributes.tags:
        item["tags"] = attributes.tags
    return item


def _jwk(hsm: ManagedHsm, name: str, version: KeyVersion) -> Json:
    jwk: Json = {"kid": key_id(hsm, name, version), "kty": version.kty, **version.public}
    if version.attributes.key_ops:
        jwk["key_ops"] = list(version.attributes.key_ops)
    return jwk


def _attributes(hsm: ManagedHsm, attributes: Attributes) -> Json:
    shown: Json = {
        "created": attributes.created,
        "enabled": attributes.enabled,
        "exportable": attributes.exportable,
        "recoverableDays": hsm.settings.retention_days,
        "recoveryLevel": hsm.settings.recovery_level,
        "updated": attributes.updated,
    }
    if attributes.nbf is not None:
        shown["nbf"] = attributes.nbf
    if attributes.exp is not None:
        shown["exp"] = attributes.exp
    return shown


def _extras(attributes: Attributes) -> Json:
    extras: Json = {}
    if attributes.tags:
        extras["tags"] = attributes.tags
    if attributes.release_policy:
        extras["release_policy"] = attributes.release_policy
    return extras


def _deletion(hsm: ManagedHsm, key: Key) -> Json:
    return {
        "deletedDate": key.deleted_at,
        "recoveryId": f"{hsm.base_url}/deletedkeys/{key.name}",
        "scheduledPurgeDate": key.purge_at,
    }
