"""Which token audience belongs to which host, as the 401 challenge names it."""

from functools import lru_cache
from urllib.parse import urlsplit

CLOUD_SUFFIXES = ("managedhsm.azure.net", "managedhsm.usgovcloudapi.net", "managedhsm.azure.cn")
# Audiences of other services, for which the directory issues tokens that an HSM must refuse.
GRAPH = "https://graph.microsoft.com"
FOREIGN = ("https://vault.azure.net", GRAPH, "https://management.azure.com")


@lru_cache(maxsize=256)
def split_host(host: str) -> tuple[str, str]:
    """Name in lower case and port (empty where none is given) of a Host header."""
    parts = urlsplit(f"//{host}")
    port = host.rpartition("]")[2].partition(":")[2]
    return (parts.hostname or "").lower(), port


def is_loopback_name(name: str) -> bool:
    """Names that reach the HSM called ``localhost``, unless they are HSMs themselves."""
    return name in {"localhost", "127.0.0.1", "::1"} or name.endswith(".localhost")


@lru_cache(maxsize=256)
def resource_for(host: str) -> str:
    """The audience for a Host header: a real-looking name's cloud, else the parent domain with the port.

    Clients compare: the host must end in a dot and the audience's host. So ``hsm.localhost:8443`` passes with
    ``https://localhost:8443``, and plain ``localhost`` needs the client's check switched off.
    """
    name, port = split_host(host)
    for suffix in CLOUD_SUFFIXES:
        if name.endswith(f".{suffix}"):
            return f"https://{suffix}"
    parent = "localhost" if is_loopback_name(name) else name.partition(".")[2] or name
    return f"https://{parent}:{port}" if port else f"https://{parent}"
