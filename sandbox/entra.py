"""The directory's endpoints: token (v1 and v2), OpenID and instance discovery, signing keys."""

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import unquote

from sandbox import assertions, entra_errors
from sandbox.assertions import ASSERTION_TYPE
from sandbox.audience import CLOUD_SUFFIXES, FOREIGN, GRAPH, is_loopback_name, split_host
from sandbox.clock import Clock
from sandbox.directory import App, Directory
from sandbox.tokens import Grant, TokenService

TENANT_DOMAIN = "sandbox.onmicrosoft.com"
_DEFAULT_SCOPE = "/.default"
AUTH_METHODS = ("client_secret_post", "private_key_jwt", "client_secret_basic")
_PATH = re.compile(
    r"/(?P<tenant>[^/]+)/(?P<endpoint>oauth2/(?:v2\.0/)?token|(?:v2\.0/)?\.well-known/openid-configuration"
    r"|discovery/(?:v2\.0/)?keys|discovery/instance)/?"
)

Json = dict[str, object]


@dataclass(frozen=True)
class EntraRoute:
    tenant: str
    endpoint: str

    @property
    def is_v2(self) -> bool:
        return "v2.0" in self.endpoint


def route(path: str) -> EntraRoute | None:
    """The directory endpoint behind a path, None where the path belongs to an HSM."""
    found = _PATH.fullmatch(path)
    return EntraRoute(unquote(found["tenant"]), found["endpoint"]) if found else None


class Entra:
    """One tenant. ``hostnames`` are the HSMs' names, from which the resources it knows follow."""

    def __init__(
        self, directory: Directory, tokens: TokenService, clock: Clock, hostnames: list[str]
    ) -> None:
        self._directory, self._tokens, self._clock = directory, tokens, clock
        self._parents = {name.partition(".")[2] or name for name in hostnames}

    def check_tenant(self, tenant: str, *, discovery: bool = False) -> None:
        """Raises EntraError unless this is our tenant, by its id or its domain."""
        if tenant.lower() not in {self._tokens.tenant, TENANT_DOMAIN}:
            raise entra_errors.unknown_tenant(tenant, discovery=discovery)

    def token(self, where: EntraRoute, form: dict[str, str], authorization: str, base_url: str) -> Json:
        """The answer to a client credentials request (RFC 6749, section 4.4). Raises EntraError.

        ``base_url`` is how the client addressed the directory, which its assertion must name.
        """
        self.check_tenant(where.tenant)
        form = _basic_credentials(authorization) | form
        grant = _required(form, "grant_type")
        if grant != "client_credentials":
            raise entra_errors.unsupported_grant(grant)
        app = self._application(_required(form, "client_id"))
        resource = _requested_resource(form, is_v2=where.is_v2)
        by_certificate = "client_assertion" in form
        if by_certificate:
            self._check_assertion(app, form, base_url)
        else:
            self._check_secret(app, form)
        self._check_resource(resource)
        roles = self._directory.graph_rights.of(app.object_id) if resource.rstrip("/") == GRAPH else []
        token, expires = self._tokens.issue(app, resource, Grant(by_certificate, tuple(roles)))
        return self._v2_answer(token) if where.is_v2 else self._v1_answer(token, expires, resource)

    def _application(self, application_id: str) -> App:
        app = self._directory.app(application_id)
        if app is None:
            raise entra_errors.unknown_application(application_id, TENANT_DOMAIN)
        return app

    def _check_secret(self, app: App, form: dict[str, str]) -> None:
        """Raises EntraError: expired only where the value was right, as the real directory does."""
        given = form.get("client_secret")
        if not given:
            raise entra_errors.missing_secret()
        now = self._clock.timestamp()
        matching = [secret for secret in self._directory.secrets(app.application_id) if secret.value == given]
        if any(secret.start_at <= now < secret.end_at for secret in matching):
            return
        if any(secret.end_at <= now for secret in matching):
            raise entra_errors.expired_secret(app.application_id)
        raise entra_errors.wrong_secret()

    def _check_assertion(self, app: App, form: dict[str, str], base_url: str) -> None:
        """Raises EntraError unless one of the application's certificates vouches for it."""
        if _required(form, "client_assertion_type") != ASSERTION_TYPE:
            raise entra_errors.unsupported_assertion_type(form["client_assertion_type"])
        tenants = (self._tokens.tenant, TENANT_DOMAIN)
        paths = ("oauth2/token", "oauth2/v2.0/token", "v2.0", "")
        audiences = frozenset(f"{base_url}/{tenant}/{path}" for tenant in tenants for path in paths)
        certificates = self._directory.certificates.of(app.application_id)
        expected = assertions.Expected(app.application_id, audiences, self._clock.timestamp())
        assertions.check(form["client_assertion"], certificates, expected)

    def _check_resource(self, resource: str) -> None:
        name, _ = split_host(resource.removeprefix("https://").rstrip("/"))
        known = name in CLOUD_SUFFIXES or name in self._parents or is_loopback_name(name)
        if not resource.startswith("https://") or not (known or resource.rstrip("/") in FOREIGN):
            raise entra_errors.unknown_resource(resource, TENANT_DOMAIN)

    def _v2_answer(self, token: str) -> Json:
        lifetime = self._tokens.lifetime
        return {
            "token_type": "Bearer",
            "expires_in": lifetime,
            "ext_expires_in": lifetime,
            "access_token": token,
        }

    def _v1_answer(self, token: str, expires: int, resource: str) -> Json:
        """The v1 endpoint writes its numbers as strings."""
        lifetime = str(self._tokens.lifetime)
        return {
            "token_type": "Bearer",
            "expires_in": lifetime,
            "ext_expires_in": lifetime,
            "expires_on": str(expires),
            "not_before": str(expires - self._tokens.lifetime),
            "resource": resource,
            "access_token": token,
        }

    def openid_configuration(self, where: EntraRoute, base_url: str) -> Json:
        """The discovery document, which names the tenant by its id however it was asked for."""
        self.check_tenant(where.tenant, discovery=True)
        tenant = f"{base_url}/{self._tokens.tenant}"
        version = "/v2.0" if where.is_v2 else ""
        return {
            "token_endpoint": f"{tenant}/oauth2{version}/token",
            "token_endpoint_auth_methods_supported": AUTH_METHODS,
            "jwks_uri": f"{tenant}/discovery{version}/keys",
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": f"{tenant}/v2.0" if where.is_v2 else self._tokens.issuer,
            "request_uri_parameter_supported": False,
            "userinfo_endpoint": f"{base_url}/oidc/userinfo",
            "authorization_endpoint": f"{tenant}/oauth2{version}/authorize",
            "device_authorization_endpoint": f"{tenant}/oauth2{version}/devicecode",
            "http_logout_supported": True,
            "frontchannel_logout_supported": True,
            "end_session_endpoint": f"{tenant}/oauth2{version}/logout",
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nbf", "tid", "ver", "oid", "appid"],
            "tenant_region_scope": "EU",
            "cloud_instance_name": split_host(base_url.removeprefix("https://"))[0],
            "cloud_graph_host_name": "graph.windows.net",
            "msgraph_host": "graph.microsoft.com",
            "rbac_url": "https://pas.windows.net",
        }

    def instance_discovery(self, base_url: str) -> Json:
        """The authority knows itself only; clients that ask about another one are not its business."""
        host = base_url.removeprefix("https://")
        tenant = f"{base_url}/{self._tokens.tenant}"
        return {
            "tenant_discovery_endpoint": f"{tenant}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        }

    def signing_keys(self, where: EntraRoute) -> Json:
        self.check_tenant(where.tenant, discovery=True)
        return self._tokens.public_keys()


def _requested_resource(form: dict[str, str], *, is_v2: bool) -> str:
    """The audience asked for: ``resource`` at the v1 endpoint, ``scope`` ending in /.default at v2."""
    if not is_v2:
        return _required(form, "resource")
    scope = _required(form, "scope")
    if not scope.endswith(_DEFAULT_SCOPE):
        raise entra_errors.invalid_scope(scope)
    return scope.removesuffix(_DEFAULT_SCOPE)


def _required(form: dict[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise entra_errors.missing_parameter(name)
    return value


def _basic_credentials(authorization: str) -> dict[str, str]:
    """Client id and secret from an HTTP Basic header (RFC 6749, section 2.3.1), where there is one."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return {}
    return {"client_id": unquote(client), "client_secret": unquote(secret)}
