"""Opening the Azure provider against a sandbox or against a server of a test's own."""

from datetime import UTC, datetime
from pathlib import Path

from cryptosources.providers.api import ProviderKind
from cryptosources.providers.azure.managed_hsm import AzureManagedHsm
from cryptosources.providers.config import AzureConfig, Timeouts
from cryptosources.providers.registry import open_provider
from secretstore.secret import Secret
from tests.sandbox_server import SandboxServer

TIMEOUTS = Timeouts(connect=2.0, read=8.0, total=10.0)


def utc_now() -> datetime:
    return datetime.now(UTC)


def sandbox_config(
    server: SandboxServer,
    hostname: str = "localhost",
    *,
    secret: str = "",
    application_id: str = "",
    token_endpoint: str = "",
    roots: str | None = None,
) -> AzureConfig:
    """As an administrator would configure the sandbox: both hosts listed, the audience vouched for."""
    return AzureConfig(
        base_url=server.address(hostname),
        token_endpoint=token_endpoint or server.token_endpoint(),
        application_id=application_id or server.application_id,
        client_secret=Secret(secret or server.secret),
        trusted_roots_pem=Path(server.ca_file).read_text() if roots is None else roots,
        hsm_hosts=(f"{hostname}:{server.port}={server.audience}",),
        token_hosts=(f"localhost:{server.port}",),
    )


def open_azure(config: AzureConfig, timeouts: Timeouts = TIMEOUTS) -> AzureManagedHsm:
    provider = open_provider(ProviderKind.AZURE_MANAGED_HSM, config, clock=utc_now, timeouts=timeouts)
    assert isinstance(provider, AzureManagedHsm)
    return provider
