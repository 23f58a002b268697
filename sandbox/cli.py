"""The command line, shared by ``python -m sandbox`` and the project's management command."""

import argparse
import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

from sandbox import trouble_parsing
from sandbox.clock import Clock
from sandbox.directory import ClientSecret, from_timestamp
from sandbox.estate import DEFAULT_HOSTNAME, Estate, HsmOptions, Options, SandboxError
from sandbox.pace import OFF, PACES
from sandbox.server import serve
from sandbox.tls import CA_FILE
from sandbox.trouble_parsing import TroubleError
from sandbox.trouble_rules import Document

DATA_VARIABLE = "KEYMANAGER_SANDBOX_DIR"
DEFAULT_PORT = 8443


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        nargs="?",
        choices=("serve", "credentials"),
        default="serve",
        help="what to do (default: serve)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="0 for a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--data", type=Path, help=f"data directory (default: ${DATA_VARIABLE}, else .sandbox here)"
    )
    parser.add_argument(
        "--hostname",
        action="append",
        type=parse_hostname,
        metavar="NAME[=DOMAIN]",
        help="serve an HSM of this name (default: localhost); same DOMAIN, same security domain",
    )
    parser.add_argument(
        "--purge-protection", action="store_true", help="refuse to purge before retention ends"
    )
    parser.add_argument("--retention-days", type=int, help="7 to 90, fixed when an HSM is made (default: 90)")
    parser.add_argument(
        "--token-lifetime", type=int, metavar="SECONDS", help="of access tokens (default: 86399)"
    )
    parser.add_argument(
        "--trouble", type=Path, metavar="FILE", help="rules of trouble, as JSON or TOML (docs/sandbox.md)"
    )
    parser.add_argument(
        "--pace",
        choices=PACES,
        default=OFF,
        help="azure: answer 429 above the published rates of the service (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="credentials as JSON, for programs")


def parse_hostname(text: str) -> HsmOptions:
    name, _, domain = text.partition("=")
    return HsmOptions(name.lower(), domain)


def run(arguments: argparse.Namespace, write: Callable[[str], None]) -> None:
    """Serve until told to stop, or print credentials. Raises SandboxError with a message for the operator."""
    data = (arguments.data or Path(os.environ.get(DATA_VARIABLE) or ".sandbox")).resolve()
    if arguments.action == "credentials":
        found = credentials(data)
        write(json.dumps(found, indent=2) if arguments.json else _as_text(found))
        return
    hsms = tuple(arguments.hostname or [HsmOptions(DEFAULT_HOSTNAME)])
    options = Options(
        data=data,
        host=arguments.host,
        port=arguments.port,
        hsms=hsms,
        purge_protection=arguments.purge_protection,
        retention_days=arguments.retention_days,
        token_lifetime=arguments.token_lifetime,
        trouble=_read_trouble(arguments.trouble, hsms),
        pace=arguments.pace,
    )
    asyncio.run(serve(options, write))


def _read_trouble(file: Path | None, hsms: tuple[HsmOptions, ...]) -> Document:
    try:
        return Document() if file is None else trouble_parsing.read(file, [hsm.name for hsm in hsms])
    except TroubleError as err:
        raise SandboxError(str(err)) from err


def credentials(data: Path) -> dict[str, object]:
    """What a client needs to use the sandbox in ``data``, with the newest secret that works now.

    Raises SandboxError before its first start, and where every secret has ended.
    """
    estate = Estate.open(data)
    try:
        port, names = estate.read_address()
        app = estate.directory.default_app()
        if app is None:
            raise SandboxError("The sandbox's own application was removed")
        secret = _newest_valid(estate.directory.secrets(app.application_id), Clock().timestamp())
        tenant = estate.setting("tenant")
    finally:
        estate.close()
    authority = f"https://localhost:{port}"
    return {
        "address": f"https://{names[0]}:{port}",
        "addresses": {name: f"https://{name}:{port}" for name in names},
        "authority": authority,
        "tenant": tenant,
        "token_endpoint": f"{authority}/{tenant}/oauth2/v2.0/token",
        "token_endpoint_v1": f"{authority}/{tenant}/oauth2/token",
        "application_id": app.application_id,
        "secret": secret.value,
        "secret_ends": from_timestamp(secret.end_at).isoformat(),
        "ca_file": str(data / CA_FILE),
    }


def _newest_valid(secrets: list[ClientSecret], now: int) -> ClientSecret:
    """The newest secret that works ``now``. Raises SandboxError where none does."""
    for secret in reversed(secrets):
        if secret.start_at <= now < secret.end_at:
            return secret
    raise SandboxError(
        "No secret of the sandbox's own application works now; add one: POST apps/{id}/secrets"
    )


def _as_text(found: dict[str, object]) -> str:
    """The values under the labels of the console's form, then what other clients ask for."""
    addresses = found["addresses"]
    form = {
        "DNS Name": " or ".join(addresses.values()) if isinstance(addresses, dict) else "",
        "Endpoint OAuth 2.0 Token": found["token_endpoint"],
        "Application ID": found["application_id"],
        "Key": found["secret"],
        "Key expires on": str(found["secret_ends"])[:10],
        "Trusted root certificates": f"paste the content of {found['ca_file']}",
    }
    others = {
        "Tenant": found["tenant"],
        "Authority": found["authority"],
        "Token endpoint, version 1": found["token_endpoint_v1"],
    }
    return "\n".join(
        ["For the form of a crypto source:", *_lines(form), "", "For other clients:", *_lines(others)]
    )


def _lines(values: dict[str, object]) -> list[str]:
    return [f"  {label + ':':<27}{value}" for label, value in values.items()]
