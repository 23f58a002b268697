"""azure-keyvault-keys and azure-identity, asynchronous and unmodified."""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ClientSecretCredential
from azure.keyvault.keys import JsonWebKey, KeyRotationPolicy
from azure.keyvault.keys.aio import KeyClient
from azure.keyvault.keys.crypto import EncryptionAlgorithm, SignatureAlgorithm
from azure.keyvault.keys.crypto.aio import CryptographyClient
from cryptography.hazmat.primitives.asymmetric import ec

from tests.sandbox import sdk
from tests.sandbox.wire import b64, unb64
from tests.sandbox_server import SandboxServer


@asynccontextmanager
async def connected(server: SandboxServer) -> AsyncIterator[tuple[KeyClient, dict[str, Any]]]:
    """A client, and what a CryptographyClient beside it needs; all share one TLS context."""
    context = ssl.create_default_context(cafile=server.ca_file)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        transport: Any = AioHttpTransport(session=session, session_owner=False)
        credential = ClientSecretCredential(
            server.tenant,
            server.application_id,
            server.secret,
            authority=server.authority,
            disable_instance_discovery=True,
            transport=transport,
        )
        shared = {"credential": credential, "transport": transport, "verify_challenge_resource": False}
        async with credential, KeyClient(server.address(), **shared) as client:
            yield client, shared


async def whole_life(server: SandboxServer, name: str) -> None:
    async with connected(server) as (client, _):
        made = await client.create_rsa_key(name, hardware_protected=True, size=2048)
        await client.update_key_rotation_policy(name, KeyRotationPolicy(), expires_in="P90D")
        rotated = await client.rotate_key(name)
        versions = [item.version async for item in client.list_properties_of_key_versions(name)]
        assert versions == [made.properties.version, rotated.properties.version]
        updated = await client.update_key_properties(name, tags={"a": "b"})
        assert updated.properties.tags == {"a": "b"}
        assert (await client.get_key(name, made.properties.version)).key.n == made.key.n  # type: ignore[attr-defined]
        blob = await client.backup_key(name)
        await client.delete_key(name)
        assert (await client.get_deleted_key(name)).name == name
        assert name in [item.name async for item in client.list_deleted_keys()]
        assert (await client.recover_deleted_key(name)).id == rotated.id
        with pytest.raises(ResourceExistsError):
            await client.restore_key_backup(blob)
        await client.delete_key(name)
        await client.purge_deleted_key(name)
        assert (await client.restore_key_backup(blob)).id == rotated.id
        assert name in [item.name async for item in client.list_properties_of_keys()]


def test_whole_life(server: SandboxServer, name: str) -> None:
    asyncio.run(whole_life(server, name))


async def sign_many(server: SandboxServer, name: str) -> None:
    digest = hashlib.sha256(b"x").digest()
    async with connected(server) as (client, shared):
        key = await client.create_ec_key(name, hardware_protected=True)
        async with CryptographyClient(key, **shared) as crypto:
            signatures = await asyncio.gather(
                *(crypto.sign(SignatureAlgorithm.es256, digest) for _ in range(50))
            )
            for item in signatures:
                assert (await crypto.verify(SignatureAlgorithm.es256, digest, item.signature)).is_valid
        assert len({item.signature for item in signatures}) == 50


def test_fifty_signatures_at_once(server: SandboxServer, name: str) -> None:
    asyncio.run(sign_many(server, name))


@pytest.mark.parametrize(
    ("curve", "algorithm"),
    [
        ("P-256K", SignatureAlgorithm.es256_k),
        ("P-384", SignatureAlgorithm.es384),
        ("P-521", SignatureAlgorithm.es512),
    ],
)
def test_curves(server: SandboxServer, name: str, curve: Any, algorithm: SignatureAlgorithm) -> None:
    async def run() -> None:
        digest = hashlib.new(f"sha{algorithm.value[2:5]}", b"x").digest()
        async with connected(server) as (client, shared):
            key = await client.create_ec_key(name, hardware_protected=True, curve=curve)
            async with CryptographyClient(key, **shared) as crypto:
                signed = await crypto.sign(algorithm, digest)
                assert (await crypto.verify(algorithm, digest, signed.signature)).is_valid

    asyncio.run(run())


def test_rsa_signatures_and_pages(server: SandboxServer, name: str) -> None:
    async def run() -> None:
        digest = hashlib.sha256(b"x").digest()
        async with connected(server) as (client, shared):
            key = await client.create_rsa_key(name, hardware_protected=True, size=3072)
            async with CryptographyClient(key, **shared) as crypto:
                for algorithm in (SignatureAlgorithm.rs256, SignatureAlgorithm.ps256):
                    signed = await crypto.sign(algorithm, digest)
                    assert len(signed.signature) == 384
                    assert (await crypto.verify(algorithm, digest, signed.signature)).is_valid
            for _ in range(11):
                await client.create_oct_key(name, size=256, hardware_protected=True)
            versions = [item.version async for item in client.list_properties_of_key_versions(name)]
            assert len(set(versions)) == 12

    asyncio.run(run())


def test_symmetric_and_import(server: SandboxServer, name: str) -> None:
    async def run() -> None:
        async with connected(server) as (client, shared):
            key = await client.create_oct_key(name, size=256, hardware_protected=True)
            async with CryptographyClient(key, **shared) as crypto:
                sealed = await crypto.encrypt(EncryptionAlgorithm.a256_gcm, b"secret")
                opened = await crypto.decrypt(
                    EncryptionAlgorithm.a256_gcm,
                    sealed.ciphertext,
                    iv=sealed.iv,
                    authentication_tag=sealed.tag,
                )
                assert opened.plaintext == b"secret"
            numbers = ec.generate_private_key(ec.SECP256R1()).private_numbers()
            public = numbers.public_numbers
            parts = {"x": public.x, "y": public.y, "d": numbers.private_value}
            jwk: Any = {member: unb64(b64(value.to_bytes(32, "big"))) for member, value in parts.items()}
            imported = await client.import_key(f"{name}-i", JsonWebKey(kty="EC-HSM", crv="P-256", **jwk))
            assert imported.key.x == jwk["x"]  # type: ignore[attr-defined]

    asyncio.run(run())


def test_errors(server: SandboxServer, name: str) -> None:
    async def run() -> None:
        async with connected(server) as (client, _):
            with pytest.raises(ResourceNotFoundError):
                await client.get_key(name)
            with pytest.raises(HttpResponseError) as malformed:
                await client.restore_key_backup(b"garbage")
            assert malformed.value.status_code == 400

    asyncio.run(run())


def test_wrong_secret(server: SandboxServer) -> None:
    async def run() -> None:
        bad = ClientSecretCredential(
            server.tenant, server.application_id, "wrong", **sdk.credential_arguments(server)
        )
        async with bad:
            with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
                await bad.get_token(f"{server.audience}/.default")

    asyncio.run(run())
