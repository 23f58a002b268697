"""The narrow seam over azure-keyvault-keys: one door through which every request to the HSM goes.

Requests go through ``KeyClient.send_request``, which is public, adds the api-version and runs the SDK's
pipeline (challenge, token, claims challenge) and nothing else: one request per call, no poller, no
extra GET before a signature, and the answer's headers at hand. The SDK's retries and redirects are off.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import requests
import structlog
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest, HttpResponse
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys._shared import http_challenge_cache

from cryptosources.providers.azure.auth import SignIn
from cryptosources.providers.azure.deadline import Call, current_call
from cryptosources.providers.azure.errors import hsm_error, lost_answer, odd_answer, read_json
from cryptosources.providers.azure.network import new_session, tls_context
from cryptosources.providers.config import AzureConfig, Timeouts
from cryptosources.providers.errors import ConfigurationError
from cryptosources.providers.hosts import AddressError, HsmAddress, parse_hsm_address

log = structlog.get_logger(__name__)

API_VERSION: Final = "7.4"
# Signatures and backups change nothing; the connection test asks for nothing that could be carried out.
_UNCHANGING: Final = frozenset({"sign", "backup", "health"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer of the HSM."""

    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def request_id(self) -> str:
        return self.headers.get("x-ms-request-id", "")


def read_address(config: AzureConfig) -> HsmAddress:
    """The configured HSM. ConfigurationError when it cannot be used."""
    try:
        return parse_hsm_address(config.base_url, config.hsm_hosts)
    except AddressError as err:
        raise ConfigurationError(
            str(err), operation="open", code="ADDRESS", remedy="Correct the DNS name."
        ) from err


class _Transport(RequestsTransport):  # type: ignore[misc]  # the SDK exports it lazily, untyped
    """Talks to the configured HSM only, and notes when a request that may change it has left."""

    def __init__(
        self, session: requests.Session, address: HsmAddress, sign_in: SignIn, timeouts: Timeouts
    ) -> None:
        super().__init__(
            session=session,
            session_owner=False,
            connection_timeout=timeouts.connect,
            read_timeout=timeouts.read,
        )
        self._address = address
        self._sign_in = sign_in

    def send(self, request: Any, **kwargs: Any) -> Any:
        call = current_call()
        self._require_own_host(request.url, call)
        authorization = request.headers.get("Authorization", "")
        call.in_doubt = call.changes and bool(authorization)
        response = super().send(request, **kwargs)
        call.in_doubt = False
        if response.status_code == 401:
            self._sign_in.note_refusal(authorization.removeprefix("Bearer "))
        return response

    def _require_own_host(self, url: str, call: Call) -> None:
        """A page's ``nextLink`` may name the port 443; nothing may name another host."""
        host = url.lower().removeprefix("https://").partition("/")[0].removesuffix(":443")
        if host != self._address.base_url.removeprefix("https://"):
            raise ConfigurationError(
                f"The HSM's answer leads to another host ({host}); it is not followed.",
                operation=call.operation,
                key=call.key,
                code="ADDRESS",
            )


class HsmClient:
    """One HSM, one application, one session. Make it after a fork; close it when the source changes."""

    def __init__(self, config: AzureConfig, timeouts: Timeouts) -> None:
        self.address = read_address(config)
        self.session = new_session(tls_context(config.trusted_roots_pem))
        self.sign_in = SignIn(config, self.address.audience, self.session, timeouts)
        # Another source's client may have left a challenge of this host; this one asks for its own.
        http_challenge_cache.remove_challenge_for_url(self.address.base_url)
        self._keys = KeyClient(
            self.address.base_url,
            self.sign_in,
            api_version=API_VERSION,
            verify_challenge_resource=not self.address.vouched,
            transport=_Transport(self.session, self.address, self.sign_in, timeouts),
            retry_total=0,
            permit_redirects=False,
            logging_enable=False,
        )

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """One request within the current call. ``path`` is relative, or a page's whole ``nextLink``.

        Raises our error for every status that is not a success, and OutcomeUnknown when a write left
        and no usable answer came.
        """
        call = current_call()
        call.changes = method != "GET" and call.operation not in _UNCHANGING
        started = time.monotonic()
        response = self._respond(HttpRequest(method, path, json=body), call)
        log.log(
            logging.INFO if call.changes else logging.DEBUG,
            "hsm.answered",
            host=self.address.host,
            operation=call.operation,
            key=call.key,
            method=method,
            status=response.status_code,
            request_id=response.headers.get("x-ms-request-id", ""),
            milliseconds=round((time.monotonic() - started) * 1000),
        )
        content = read_json(response.text())
        if not 200 <= response.status_code < 300:
            raise hsm_error(call, response.status_code, content, response.headers)
        if response.status_code == 204:
            return Answer({}, response.headers)
        if not isinstance(content, dict):
            raise odd_answer(call, "it is not a JSON object")
        return Answer(content, response.headers)

    def _respond(self, request: HttpRequest, call: Call) -> HttpResponse:
        try:
            return self._keys.send_request(request)
        except HttpResponseError as err:
            # The SDK could not read an answer as what it calls itself; status and headers are there.
            if isinstance(err.response, HttpResponse):
                return err.response
            raise lost_answer(call, err) from err
        except AzureError as err:
            raise lost_answer(call, err) from err
        except ValueError as err:
            # The SDK's own check of the challenge, on for every host that nobody vouched for.
            raise ConfigurationError(
                "The HSM wants tokens for a service that does not fit its address. Nothing was sent to it.",
                operation=call.operation,
                key=call.key,
                code="CHALLENGE",
                remedy="Check the DNS name of the crypto source.",
            ) from err

    def close(self) -> None:
        self._keys.close()
        self.sign_in.close()
        self.session.close()
