"""Client assertions: tokens that an application signs with the key of a registered certificate (RFC 7523).

The checks and their order follow *Microsoft identity platform application authentication certificate
credentials*. Assumed: an allowance of five minutes for clocks that differ. ``jti`` is neither demanded nor
remembered: clients use an assertion again while it is valid.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jwt

from sandbox import b64, entra_errors
from sandbox.algorithms import SHA1, SHA256
from sandbox.certificates import Certificate

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ALGORITHMS = ("PS256", "RS256")
_SKEW_SECONDS = 300
_LAST_TIME = 253402300799  # the end of the year 9999
_THUMBPRINTS = {"x5t#S256": SHA256, "x5t": SHA1}


@dataclass(frozen=True)
class Expected:
    """What an assertion must say: for which application, to which of our addresses; ``now`` in seconds."""

    application_id: str
    audiences: frozenset[str]
    now: int


def check(token: str, certificates: Iterable[Certificate], expected: Expected) -> None:
    """Raises EntraError unless one of the certificates' keys signed a good assertion."""
    header, claims = _parse(token)
    if str(claims.get("iss", "")).lower() != expected.application_id:
        raise entra_errors.unknown_assertion_issuer(str(claims.get("iss", "")))
    certificate = _find(header, certificates, expected)
    _check_signature(token, certificate, expected)
    _check_times(claims, expected.now)
    if str(claims.get("aud")) not in expected.audiences:
        raise entra_errors.wrong_assertion_audience()
    if str(claims.get("sub", "")).lower() != expected.application_id:
        raise entra_errors.wrong_assertion_subject()


def _parse(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, nothing checked yet. Raises EntraError for what is no token."""
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError as err:
        raise entra_errors.malformed_assertion("Token format not valid.") from err
    if header.get("alg") not in _ALGORITHMS:
        raise entra_errors.malformed_assertion(f"'{header.get('alg')}' is not a supported algorithm.")
    return header, claims


def _find(header: dict[str, Any], certificates: Iterable[Certificate], expected: Expected) -> Certificate:
    """The registered certificate that the header names by its thumbprint. Raises EntraError."""
    member = next((name for name in _THUMBPRINTS if header.get(name)), None)
    if member is None:
        raise entra_errors.malformed_assertion("No certificate thumbprint specified in token header.")
    try:
        wanted = b64.decode(str(header[member]))
    except ValueError as err:
        raise entra_errors.malformed_assertion("Thumbprint is not base64url.") from err
    for certificate in certificates:
        if certificate.thumbprint(_THUMBPRINTS[member]) == wanted:
            return certificate
    raise entra_errors.bad_assertion_key("The key was not found.", wanted, expected.application_id)


def _check_signature(token: str, certificate: Certificate, expected: Expected) -> None:
    """Raises EntraError where the certificate has ended or not begun, or its key did not sign the token."""
    reason = ""
    if not certificate.start_at <= expected.now <= certificate.end_at:
        reason = "The key used is expired."
    try:
        jwt.api_jws.decode(token, certificate.public_key, algorithms=list(_ALGORITHMS))
    except jwt.InvalidTokenError:
        reason = "The provided signature value did not match the expected signature value."
    if reason:
        raise entra_errors.bad_assertion_key(
            reason, certificate.thumbprint(), expected.application_id, certificate
        )


def _check_times(claims: dict[str, Any], now: int) -> None:
    """Raises EntraError outside ``nbf`` (from 1970, where it is missing) and ``exp``, which must be there."""
    try:
        begins, ends = int(claims.get("nbf", 0)), int(claims["exp"])
    except (KeyError, TypeError, ValueError) as err:
        raise entra_errors.malformed_assertion("Token has no expiry time.") from err
    if not 0 <= begins <= _LAST_TIME or not 0 <= ends <= _LAST_TIME:
        raise entra_errors.malformed_assertion("Time out of range.")
    if not begins - _SKEW_SECONDS <= now < ends + _SKEW_SECONDS:
        raise entra_errors.assertion_out_of_time(now, begins, ends)
