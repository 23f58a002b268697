"""azure-keyvault-keys and azure-identity, synchronous and unmodified."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.keyvault.keys import ApiVersion, JsonWebKey, KeyClient, KeyRotationPolicy
from azure.keyvault.keys.crypto import (
    CryptographyClient,
    EncryptionAlgorithm,
    KeyWrapAlgorithm,
    SignatureAlgorithm,
)
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.sandbox import sdk
from tests.sandbox_server import SandboxServer

KEY_VAULT_ONLY = {"2016-10-01", "7.0", "7.1"}
SIGNING: list[tuple[str, Any, list[SignatureAlgorithm]]] = [
    ("rsa", 2048, [SignatureAlgorithm.rs256, SignatureAlgorithm.ps384, SignatureAlgorithm.rs512]),
    ("rsa", 3072, [SignatureAlgorithm.ps256]),
    ("ec", "P-256", [SignatureAlgorithm.es256]),
    ("ec", "P-256K", [SignatureAlgorithm.es256_k]),
    ("ec", "P-384", [SignatureAlgorithm.es384]),
    ("ec", "P-521", [SignatureAlgorithm.es512]),
]


@pytest.fixture(scope="module")
def client(server: SandboxServer) -> Iterator[KeyClient]:
    with sdk.key_client(server) as made:
        yield made


def crypto(server: SandboxServer, key: Any) -> CryptographyClient:
    return CryptographyClient(key, sdk.credential(server), **sdk.client_arguments(server, "localhost"))


def test_whole_life(client: KeyClient, name: str) -> None:
    made = client.create_rsa_key(name, hardware_protected=True, size=2048, tags={"purpose": "test"})
    assert (made.name, made.key_type) == (name, "RSA-HSM")
    assert client.get_key(name).id == made.id
    assert client.get_key(name, made.properties.version).key.n == made.key.n  # type: ignore[attr-defined]
    client.update_key_rotation_policy(name, KeyRotationPolicy(), expires_in="P90D")
    rotated = client.rotate_key(name)
    assert rotated.properties.version != made.properties.version
    versions = [item.version for item in client.list_properties_of_key_versions(name)]
    assert versions == [made.properties.version, rotated.properties.version]
    updated = client.update_key_properties(name, enabled=False, tags={"a": "b"})
    assert (updated.properties.enabled, updated.properties.tags) == (False, {"a": "b"})
    blob = client.backup_key(name)
    deleted = client.begin_delete_key(name).result()
    assert deleted.recovery_id
    assert client.get_deleted_key(name).scheduled_purge_date == deleted.scheduled_purge_date
    assert name in [item.name for item in client.list_deleted_keys()]
    recovered = client.begin_recover_deleted_key(name).result()
    assert recovered.id == rotated.id
    client.begin_delete_key(name).wait()
    client.purge_deleted_key(name)
    restored = client.restore_key_backup(blob)
    assert (restored.id, restored.properties.updated_on) == (updated.id, updated.properties.updated_on)
    assert name in [item.name for item in client.list_properties_of_keys()]


@pytest.mark.parametrize(("kind", "parameter", "algorithms"), SIGNING)
def test_sign_and_verify(
    server: SandboxServer,
    client: KeyClient,
    name: str,
    kind: str,
    parameter: Any,
    algorithms: list[SignatureAlgorithm],
) -> None:
    if kind == "rsa":
        key = client.create_rsa_key(name, hardware_protected=True, size=parameter)
    else:
        key = client.create_ec_key(name, hardware_protected=True, curve=parameter)
    with crypto(server, key) as local, crypto(server, key.id) as remote:
        for algorithm in algorithms:
            digest = hashlib.new(f"sha{algorithm.value[2:5]}", b"x").digest()
            signature = remote.sign(algorithm, digest).signature
            assert local.verify(algorithm, digest, signature).is_valid
            assert not local.verify(algorithm, bytes(len(digest)), signature).is_valid


def test_remote_verify(server: SandboxServer, client: KeyClient, name: str) -> None:
    client.create_ec_key(name, hardware_protected=True)
    digest = hashlib.sha256(b"x").digest()
    with crypto(server, client.get_key(name).id) as remote:
        signature = remote.sign(SignatureAlgorithm.es256, digest).signature
    server.revoke("keys/read/action")
    try:
        with crypto(server, f"{server.address()}/keys/{name}") as blind:
            assert blind.verify(SignatureAlgorithm.es256, digest, signature).is_valid
    finally:
        server.grant("Crypto User")
    assert server.requests()["verify 200"] >= 1


def test_symmetric(server: SandboxServer, client: KeyClient, name: str) -> None:
    key = client.create_oct_key(name, size=256, hardware_protected=True)
    with crypto(server, key) as remote:
        sealed = remote.encrypt(
            EncryptionAlgorithm.a256_gcm, b"secret", additional_authenticated_data=b"context"
        )
        opened = remote.decrypt(
            EncryptionAlgorithm.a256_gcm,
            sealed.ciphertext,
            iv=sealed.iv,
            authentication_tag=sealed.tag,
            additional_authenticated_data=b"context",
        )
        assert opened.plaintext == b"secret"
        wrapped = remote.wrap_key(KeyWrapAlgorithm.aes_256, bytes(32))
        assert remote.unwrap_key(KeyWrapAlgorithm.aes_256, wrapped.encrypted_key).key == bytes(32)
    assert len(client.get_random_bytes(16)) == 16


@pytest.mark.parametrize(
    ("encryption", "wrapping"),
    [
        (EncryptionAlgorithm.rsa1_5, KeyWrapAlgorithm.rsa1_5),
        (EncryptionAlgorithm.rsa_oaep, KeyWrapAlgorithm.rsa_oaep),
        (EncryptionAlgorithm.rsa_oaep_256, KeyWrapAlgorithm.rsa_oaep_256),
    ],
)
def test_asymmetric(
    server: SandboxServer,
    client: KeyClient,
    name: str,
    encryption: EncryptionAlgorithm,
    wrapping: KeyWrapAlgorithm,
) -> None:
    """The client seals with the public key by itself, and only the HSM opens."""
    key = client.create_rsa_key(name, hardware_protected=True)
    with crypto(server, key) as mixed:
        sealed = mixed.encrypt(encryption, b"secret").ciphertext
        assert mixed.decrypt(encryption, sealed).plaintext == b"secret"
        wrapped = mixed.wrap_key(wrapping, bytes(32)).encrypted_key
        assert mixed.unwrap_key(wrapping, wrapped).key == bytes(32)


def test_import(client: KeyClient, name: str) -> None:
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()

    def big(value: int) -> bytes:
        return value.to_bytes((value.bit_length() + 7) // 8, "big")

    jwk = JsonWebKey(
        kty="RSA-HSM",
        key_ops=["sign", "verify"],
        n=big(numbers.public_numbers.n),
        e=b"\x01\x00\x01",
        d=big(numbers.d),
        p=big(numbers.p),
        q=big(numbers.q),
        dp=big(numbers.dmp1),
        dq=big(numbers.dmq1),
        qi=big(numbers.iqmp),
    )
    made = client.import_key(name, jwk, hardware_protected=True)
    assert (made.key_type, made.key.n) == ("RSA-HSM", jwk.n)  # type: ignore[attr-defined]


def test_listing_follows_pages(client: KeyClient, names: Callable[[], str]) -> None:
    made = {names() for _ in range(12)}
    for name in made:
        client.create_oct_key(name, size=256, hardware_protected=True)
    for size in (None, 5, 25):
        listed = [item.name for item in client.list_properties_of_keys(max_page_size=size)]
        assert made <= set(listed)
        assert len(listed) == len(set(listed))


def test_errors_are_the_sdks_own(client: KeyClient, name: str) -> None:
    with pytest.raises(ResourceNotFoundError) as missing:
        client.get_key(name)
    assert missing.value.error is not None
    assert missing.value.error.code == "KeyNotFound"
    with pytest.raises(ResourceNotFoundError):
        client.purge_deleted_key(name)
    client.create_ec_key(name, hardware_protected=True)
    blob = client.backup_key(name)
    with pytest.raises(ResourceExistsError):
        client.restore_key_backup(blob)
    client.begin_delete_key(name).wait()
    with pytest.raises(ResourceExistsError):
        client.restore_key_backup(blob)
    with pytest.raises(ResourceExistsError):
        client.create_ec_key(name)
    with pytest.raises(HttpResponseError) as malformed:
        client.restore_key_backup(b"garbage")
    assert malformed.value.error is not None
    assert malformed.value.error.code == "MalformedBackupBlob"


def test_first_call_is_challenge_configuration_token_and_request(own_server: SandboxServer) -> None:
    with sdk.key_client(own_server) as client:
        list(client.list_properties_of_keys())
        assert own_server.requests() == {
            "challenge 401": 1,
            "entra v2.0/.well-known/openid-configuration 200": 1,
            "entra oauth2/v2.0/token 200": 1,
            "list 200": 1,
        }
        own_server.reset_requests()
        client.create_ec_key("a", hardware_protected=True)
        assert own_server.requests() == {"create 200": 1}


def test_expired_token_is_refused(own_server: SandboxServer) -> None:
    with sdk.key_client(own_server) as client:
        list(client.list_properties_of_keys())
        own_server.advance_clock(90000)
        with pytest.raises(ClientAuthenticationError):
            list(client.list_properties_of_keys())


def test_challenge_resource_is_verified_for_names_under_localhost(server: SandboxServer, name: str) -> None:
    with server.resolving(), sdk.key_client(server, "hsm.localhost") as client:
        made = client.create_ec_key(name, hardware_protected=True)
    assert made.id.startswith(f"https://hsm.localhost:{server.port}/keys/{name}/")


def test_the_sdk_refuses_plain_localhost_with_its_check_on(server: SandboxServer) -> None:
    client = sdk.key_client(server, verify_challenge_resource=True)
    with client, pytest.raises(ValueError, match="does not match the requested domain"):
        client.get_key("a")


@pytest.mark.parametrize("version", [item for item in ApiVersion if item.value not in KEY_VAULT_ONLY])
def test_every_api_version_of_the_sdk_for_managed_hsm(
    server: SandboxServer, version: ApiVersion, name: str
) -> None:
    with sdk.key_client(server, api_version=version) as client:
        client.create_ec_key(name, hardware_protected=True)
        assert client.get_key(name).name == name


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"secret": "wrong"}, "AADSTS7000215"),
        ({"application_id": "00000000-0000-0000-0000-000000000000"}, "AADSTS700016"),
        ({"tenant": "00000000-0000-0000-0000-000000000000"}, "Unable to get authority configuration"),
    ],
)
def test_wrong_credentials(server: SandboxServer, wrong: dict[str, str], text: str) -> None:
    with sdk.credential(server, **wrong) as bad, pytest.raises(ClientAuthenticationError, match=text):
        bad.get_token(f"{server.audience}/.default")


def test_expired_secret(server: SandboxServer) -> None:
    now = datetime.now(UTC)
    app = server.add_app(grants=[])
    old = server.add_secret(now - timedelta(9), now - timedelta(1), application_id=app.application_id)
    bad = sdk.credential(server, application_id=app.application_id, secret=old.value)
    with bad, pytest.raises(ClientAuthenticationError, match="AADSTS7000222"):
        bad.get_token(f"{server.audience}/.default")


def test_missing_purge_right(own_server: SandboxServer) -> None:
    with sdk.key_client(own_server) as client:
        client.create_ec_key("a", hardware_protected=True)
        client.begin_delete_key("a").wait()
        own_server.revoke("keys/deletedKeys/delete")
        with pytest.raises(HttpResponseError, match="managedHsm/keys/deletedKeys/delete on") as refused:
            client.purge_deleted_key("a")
        assert refused.value.status_code == 403
        own_server.grant("keys/deletedKeys/delete")
        client.purge_deleted_key("a")
