"""How to reach one source: plain values, no Django. Built by services from the database row."""

from dataclasses import dataclass, field

from secretstore.secret import Secret


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. ``total`` bounds a whole provider call, sign-in included."""

    connect: float = 5.0
    read: float = 25.0
    total: float = 30.0


@dataclass(frozen=True, slots=True)
class AzureConfig:
    """An Azure Managed HSM and the app registration that signs in to it.

    ``base_url`` is ``https://host[:port]`` without a path; ``token_endpoint`` the v1 or v2 token URL;
    ``trusted_roots_pem`` extra root certificates for both hosts (empty: the platform's store);
    ``hsm_hosts`` and ``token_hosts`` the allow-lists (see :mod:`cryptosources.providers.hosts`).
    """

    base_url: str
    token_endpoint: str
    application_id: str
    client_secret: Secret
    trusted_roots_pem: str = ""
    hsm_hosts: tuple[str, ...] = field(default_factory=tuple)
    token_hosts: tuple[str, ...] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """The in-memory provider: sources with the same ``domain`` share one simulated security domain."""

    name: str
    domain: str = "memory"
    purge_protection: bool = False
    retention_days: int = 90


ProviderConfig = AzureConfig | MemoryConfig
