"""Signing in to Entra, over our own network and under the call's deadline.

:class:`SignIn` stands between the key client and azure-identity. It lets a secret leave only for the
configured tenant and audience, whichever challenge the SDK acted on (the SDK keeps challenges in one
cache for the whole process); signs in once for threads that ask together; signs in anew, at most once a
minute, when the HSM refuses a token before its time; and never repeats a refused secret by itself for a
minute, because repeating locks accounts. A *connection test* uses a new object.
"""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import requests
from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ClientSecretCredential

from cryptosources.providers.azure.deadline import current_call
from cryptosources.providers.azure.errors import lost_answer, read_json, retry_after_seconds, sign_in_error
from cryptosources.providers.config import AzureConfig, Timeouts
from cryptosources.providers.errors import AuthenticationFailed, ConfigurationError, ProviderError
from cryptosources.providers.hosts import AddressError, TokenEndpoint, parse_token_endpoint

# As long as azure-identity itself answers from memory after Entra's HTTP 400.
_REFUSAL_SECONDS: Final = 60.0
# An HSM that refuses every token must not become a stream of requests to Entra.
_RENEWAL_SECONDS: Final = 60.0
_TENANT_IN_ISSUER: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def read_endpoint(config: AzureConfig) -> TokenEndpoint:
    """The configured token endpoint. ConfigurationError when it cannot be used."""
    try:
        return parse_token_endpoint(config.token_endpoint, config.token_hosts)
    except AddressError as err:
        raise ConfigurationError(
            str(err), operation="open", code="ADDRESS", remedy="Correct the token endpoint."
        ) from err


@dataclass(frozen=True, slots=True)
class Challenge:
    """What an HSM's 401 asks for: tokens of which tenant, for which audience."""

    tenant: str
    audience: str

    @classmethod
    def parse(cls, header: str) -> "Challenge | None":
        """Read a ``WWW-Authenticate: Bearer`` header; None when it names no authority."""
        scheme, _, rest = header.strip().partition(" ")
        fields = dict(_parameter(part) for part in rest.split(",") if "=" in part)
        authority = fields.get("authorization") or fields.get("authorization_uri") or ""
        if scheme.lower() != "bearer" or not authority:
            return None
        tenant = authority.removeprefix("https://").partition("/")[2].strip("/").partition("/")[0]
        audience = fields.get("resource") or fields.get("scope", "").removesuffix("/.default")
        return cls(tenant, audience)


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.strip().partition("=")
    return name.lower(), value.strip().strip('"')


class _Transport(RequestsTransport):  # type: ignore[misc]  # the SDK exports it lazily, untyped
    """Sends sign-in requests to allowed sign-in hosts only; keeps the last refusal for its details.

    The SDK answers from memory for some seconds after a refusal: the one kept is then the one repeated.
    """

    def __init__(self, session: requests.Session, config: AzureConfig, timeouts: Timeouts) -> None:
        super().__init__(
            session=session,
            session_owner=False,
            connection_timeout=timeouts.connect,
            read_timeout=timeouts.read,
        )
        self._allowed = config.token_hosts
        self.refusal: tuple[int, str, float | None, str] | None = None

    def send(self, request: Any, **kwargs: Any) -> Any:
        self.refusal = None
        self._require_allowed(request.url)
        response = super().send(request, **kwargs)
        if response.status_code >= 400:
            headers = response.headers
            self.refusal = (
                response.status_code,
                _description(response.text()),
                retry_after_seconds(headers),
                headers.get("x-ms-request-id", ""),
            )
        return response

    def _require_allowed(self, url: str) -> None:
        """The configured host is allowed already; its own directions may lead elsewhere."""
        host = url.removeprefix("https://").partition("/")[0]
        probe = f"https://{host}/00000000-0000-0000-0000-000000000000/oauth2/token"
        try:
            parse_token_endpoint(probe, self._allowed)
        except AddressError as err:
            raise ConfigurationError(
                f"The sign-in service sends elsewhere: {err}", operation="open", code="ADDRESS"
            ) from err


class SignIn:
    """A token credential for one application at one tenant, for one audience."""

    def __init__(
        self, config: AzureConfig, audience: str, session: requests.Session, timeouts: Timeouts
    ) -> None:
        self._config = config
        self._audience = audience
        self._session = session
        self._endpoint = read_endpoint(config)
        self._transport = _Transport(session, config, timeouts)
        self._lock = threading.Lock()
        self._tenant = "" if self._endpoint.tenant_is_domain else self._endpoint.tenant
        self._credential: ClientSecretCredential | None = None
        self._refused: tuple[float, ProviderError] | None = None
        self._refused_token = ""
        self._may_renew_from = 0.0

    def __repr__(self) -> str:
        return f"SignIn({self._config.application_id} at {self._endpoint.authority}/{self._endpoint.tenant})"

    def tenant(self) -> str:
        """The tenant's GUID; a domain name is looked up at the sign-in service, once."""
        with _within_deadline(self._lock):
            if not self._tenant:
                self._tenant = self._look_up_tenant()
            return self._tenant

    def require_expected(self, *, tenant: str, audience: str) -> None:
        """ConfigurationError unless an HSM wants tokens of the configured tenant, for its own audience."""
        ours, call = self.tenant(), current_call()
        wrong = []
        if tenant.lower() != ours:
            wrong.append(f"tokens of tenant {tenant or '(none)'}, and the token endpoint is of {ours}")
        if audience.lower().rstrip("/") != self._audience:
            wrong.append(
                f"tokens for {audience or '(nothing)'}, and {self._audience} is what fits its address"
            )
        if wrong:
            raise ConfigurationError(
                f"The HSM wants {'; and '.join(wrong)}. Nothing was sent to it.",
                operation=call.operation,
                key=call.key,
                code="CHALLENGE",
                remedy="Check that DNS name and token endpoint belong to the same tenant and cloud.",
            )

    def note_refusal(self, token: str) -> None:
        """The HSM answered 401 to this token (empty: to none), and did nothing else."""
        self._refused_token = token or self._refused_token

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """A token for ``<audience>/.default``, from memory or from Entra.

        ConfigurationError for any other scope or tenant, before anything is sent; AuthenticationFailed
        and its kind when Entra refuses; ProviderUnavailable or Throttled when it does not answer.
        """
        options = options or {}
        scope = scopes[0] if len(scopes) == 1 else " ".join(scopes)
        self.require_expected(
            tenant=str(options.get("tenant_id") or ""), audience=scope.removesuffix("/.default")
        )
        with _within_deadline(self._lock):
            self._raise_refusal()
            return self._sign_in(scope, options)

    def get_token(
        self, *scopes: str, claims: str | None = None, tenant_id: str | None = None, **options: Any
    ) -> AccessToken:
        """The older form of :meth:`get_token_info`, which the SDK's type asks for."""
        wanted = {"claims": claims, "tenant_id": tenant_id, "enable_cae": options.get("enable_cae", False)}
        given = cast(TokenRequestOptions, {name: value for name, value in wanted.items() if value})
        info = self.get_token_info(*scopes, options=given)
        return AccessToken(info.token, info.expires_on)

    def close(self) -> None:
        if self._credential is not None:
            self._credential.close()

    def _sign_in(self, scope: str, options: TokenRequestOptions) -> AccessTokenInfo:
        """The HSM's claims are put to Entra with a renewal only: the SDK asks anew whenever it sees some."""
        remembered = cast(
            TokenRequestOptions, {name: value for name, value in options.items() if name != "claims"}
        )
        try:
            info = self._made_credential().get_token_info(scope, options=remembered)
            if info.token == self._refused_token and self._may_renew():
                # The SDK would go on answering from memory until the token's own end.
                self._credential = None
                info = self._made_credential().get_token_info(scope, options=options)
            return info
        except (AzureError, ValueError) as err:
            failure = self._explain(err)
            if isinstance(failure, AuthenticationFailed) and self._transport.refusal is not None:
                self._refused = (time.monotonic() + _REFUSAL_SECONDS, failure)
            raise failure from err

    def _may_renew(self) -> bool:
        now = time.monotonic()
        if now < self._may_renew_from:
            return False
        self._may_renew_from = now + _RENEWAL_SECONDS
        return True

    def _made_credential(self) -> ClientSecretCredential:
        """The SDK's credential, made at first use.

        Instance discovery is off for every authority: it asks login.microsoftonline.com whether the
        authority is genuine, which our allow-list has already decided, also for clouds that cannot
        reach that host.
        """
        if self._credential is None:
            self._credential = ClientSecretCredential(
                self._tenant,
                self._config.application_id,
                self._config.client_secret.reveal_text(),
                authority=self._endpoint.authority,
                disable_instance_discovery=True,
                transport=self._transport,
                retry_total=0,
                logging_enable=False,
            )
        return self._credential

    def _explain(self, error: Exception) -> ProviderError:
        """Our own error inside the SDK's, else what Entra answered, else that it did not answer."""
        cause: BaseException | None = error
        unanswered: BaseException | None = None
        while cause is not None:
            if isinstance(cause, ProviderError):
                return cause
            if cause.__class__.__name__ == "SoftTimeLimitExceeded":
                # The worker's own time limit, which azure-identity wraps like any failure to sign in.
                raise cause
            if isinstance(cause, AzureError) and not isinstance(cause, ClientAuthenticationError):
                unanswered = cause
            cause = cause.__cause__
        call = current_call()
        if self._transport.refusal is not None:
            status, text, retry_after, request_id = self._transport.refusal
            return sign_in_error(
                call, status=status, text=text or str(error), retry_after=retry_after, request_id=request_id
            )
        if unanswered is not None:
            return lost_answer(call, unanswered)
        return sign_in_error(call, status=None, text=str(error))

    def _raise_refusal(self) -> None:
        if self._refused is None:
            return
        until, failure = self._refused
        if time.monotonic() >= until:
            self._refused = None
            return
        call = current_call()
        raise type(failure)(
            failure.message,
            operation=call.operation,
            key=call.key,
            code=failure.code,
            request_id=failure.request_id,
            remedy=failure.remedy,
        )

    def _look_up_tenant(self) -> str:
        """The GUID behind a tenant's domain name, from its OpenID configuration (Entra's own v2.0 form)."""
        call = current_call()
        url = f"{self._endpoint.authority}/{self._endpoint.tenant}/v2.0/.well-known/openid-configuration"
        try:
            response = self._session.get(
                url, timeout=(call.to_connect(), call.to_read()), allow_redirects=False
            )
        except (requests.RequestException, TimeoutError) as err:
            raise lost_answer(call, err) from err
        body = read_json(response.text)
        if response.status_code != 200:
            raise sign_in_error(
                call,
                status=response.status_code,
                text=_description(response.text) or "Unable to get authority configuration",
                retry_after=retry_after_seconds(response.headers),
                request_id=response.headers.get("x-ms-request-id", ""),
            )
        issuer = str(body.get("issuer", "")) if isinstance(body, dict) else ""
        found = _TENANT_IN_ISSUER.search(issuer.lower())
        if found is None:
            raise call.unavailable("The sign-in service did not say which tenant the domain belongs to.")
        return found.group()


def _description(text: str) -> str:
    """Entra's own words in an error body; empty when it has none."""
    body = read_json(text)
    if not isinstance(body, dict):
        return ""
    return str(body.get("error_description") or body.get("error") or "")


@contextmanager
def _within_deadline(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock; ProviderUnavailable when the call's time is over before it is free."""
    call = current_call()
    try:
        held = lock.acquire(timeout=call.remaining())
    except TimeoutError:
        held = False
    if not held:
        raise call.unavailable("Signing in took too long.", code="TIMEOUT")
    try:
        yield
    finally:
        lock.release()
