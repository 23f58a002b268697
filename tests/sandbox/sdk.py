"""Unmodified Azure clients, aimed at a sandbox through documented arguments only."""

from typing import Any

from azure.identity import ClientSecretCredential
from azure.keyvault.administration import KeyVaultAccessControlClient
from azure.keyvault.keys import KeyClient

from tests.sandbox_server import SandboxServer


def credential_arguments(server: SandboxServer) -> dict[str, Any]:
    """What a private authority with a private certificate authority needs."""
    return {
        "authority": server.authority,
        "disable_instance_discovery": True,
        "connection_verify": server.ca_file,
        "retry_total": 0,
    }


def client_arguments(server: SandboxServer, hostname: str) -> dict[str, Any]:
    """Plain localhost cannot end in a dot and the audience's host, so the client's check is off for it."""
    return {
        "verify_challenge_resource": hostname != "localhost",
        "connection_verify": server.ca_file,
        "retry_total": 0,
    }


def credential(
    server: SandboxServer, *, tenant: str = "", application_id: str = "", secret: str = ""
) -> ClientSecretCredential:
    return ClientSecretCredential(
        tenant or server.tenant,
        application_id or server.application_id,
        secret or server.secret,
        **credential_arguments(server),
    )


def key_client(server: SandboxServer, hostname: str = "localhost", **more: Any) -> KeyClient:
    """A client with a credential of its own; ``more`` goes to the client."""
    arguments = client_arguments(server, hostname) | more
    return KeyClient(server.address(hostname), credential(server), **arguments)


def access_client(server: SandboxServer, **who: str) -> KeyVaultAccessControlClient:
    """A client of the HSM's roles; ``who`` names another application by its id and secret."""
    arguments = client_arguments(server, "localhost")
    return KeyVaultAccessControlClient(server.address(), credential(server, **who), **arguments)
