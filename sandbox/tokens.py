"""Access tokens: version 1.0 tokens signed with RS256, as the directory issues them for Managed HSM."""

import secrets
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox import b64
from sandbox.clock import Clock
from sandbox.directory import App

DEFAULT_LIFETIME = 86399
_REMEMBERED = 10_000


class InvalidTokenError(Exception):
    """The token is not ours, not for this audience or tenant, or its time is over."""


@dataclass(frozen=True)
class Principal:
    """Who asks: the service principal's object id, its application id, its permissions in the audience."""

    object_id: str
    application_id: str
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Grant:
    """How the application proved who it is, and its permissions in the token's audience."""

    by_certificate: bool = False
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Claims:
    principal: Principal
    audience: str
    not_before: int
    expires: int


def new_signing_key() -> str:
    """A fresh RSA key as PEM."""
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")


class TokenService:
    """Issues and checks the tenant's tokens. Remembers checked tokens, but looks at their times each time."""

    def __init__(self, tenant: str, signing_key: str, clock: Clock, lifetime: int = DEFAULT_LIFETIME) -> None:
        key = serialization.load_pem_private_key(signing_key.encode("ascii"), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("signing key is not RSA")
        self.tenant = tenant
        self.lifetime = lifetime
        self._key, self._public, self._clock = key, key.public_key(), clock
        spki = self._public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        digest = hashes.Hash(hashes.SHA256())
        digest.update(spki)
        self.key_id = b64.encode(digest.finalize()[:20])
        self._seen: dict[str, _Claims] = {}

    @property
    def issuer(self) -> str:
        return f"https://sts.windows.net/{self.tenant}/"

    def issue(self, app: App, audience: str, grant: Grant) -> tuple[str, int]:
        """A token for the application and the second at which it expires."""
        now = self._clock.timestamp()
        expires = now + self.lifetime
        claims: dict[str, object] = {
            "aud": audience,
            "iss": self.issuer,
            "iat": now,
            "nbf": now,
            "exp": expires,
            "appid": app.application_id,
            "appidacr": "2" if grant.by_certificate else "1",
            "idp": self.issuer,
            "idtyp": "app",
            "oid": app.object_id,
            "sub": app.object_id,
            "tid": self.tenant,
            "uti": secrets.token_urlsafe(16),
            "ver": "1.0",
        }
        if grant.roles:
            claims["roles"] = grant.roles
        headers = {"x5t": self.key_id, "kid": self.key_id}
        return jwt.encode(claims, self._key, "RS256", headers=headers), expires

    def check(self, token: str, audience: str) -> Principal:
        """Who the token speaks for. Raises InvalidTokenError for signature, tenant, audience or time."""
        claims = self._seen.get(token) or self._read(token)
        if claims.audience.rstrip("/") != audience.rstrip("/"):
            raise InvalidTokenError("audience")
        if not claims.not_before <= self._clock.timestamp() < claims.expires:
            raise InvalidTokenError("time")
        return claims.principal

    def _read(self, token: str) -> _Claims:
        options = {"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False}
        try:
            values = jwt.decode(token, self._public, ["RS256"], options=options, issuer=self.issuer)  # type: ignore[arg-type]
            roles = frozenset(values.get("roles", ()))
            principal = Principal(str(values["oid"]), str(values["appid"]), roles)
            claims = _Claims(principal, str(values["aud"]), int(values["nbf"]), int(values["exp"]))
        except (jwt.InvalidTokenError, KeyError, ValueError) as err:
            raise InvalidTokenError("token") from err
        if values.get("tid") != self.tenant:
            raise InvalidTokenError("tenant")
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[token] = claims
        return claims

    def public_keys(self) -> dict[str, object]:
        """The JSON web key set that the discovery documents point to."""
        numbers = self._public.public_numbers()
        key = {
            "kty": "RSA",
            "use": "sig",
            "kid": self.key_id,
            "x5t": self.key_id,
            "n": b64.encode_int(numbers.n),
            "e": b64.encode_int(numbers.e),
        }
        return {"keys": [key]}
