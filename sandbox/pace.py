"""The pace of the real service: what comes faster than its published rates is answered with 429.

The rates are those of one partition, for one key used repeatedly (*Managed HSM: scaling guidance*). Each
HSM has them for itself, each operation too, and signing and verifying for each kind of key. What has no
published rate is not held back: import, update, recover, encryption, HMAC, roles.
"""

import time
from collections.abc import Callable

from sandbox import b64
from sandbox.algorithms import EC, RSA
from sandbox.keystore import KeyVersion
from sandbox.trouble_errors import throttled

OFF, AZURE = "off", "azure"
PACES = (OFF, AZURE)
# Operations per second. Rotating makes a key, and each page of a list is a look at keys.
RATES: dict[str, float] = {
    "create": 1,
    "rotate": 1,
    "backup": 10,
    "restore": 10,
    "delete": 10,
    "purge": 10,
    "get": 1100,
    "get-deleted": 1100,
    "list": 1100,
    "list-deleted": 1100,
    "list-versions": 1100,
}
BY_KEY: dict[str, dict[str, float]] = {
    "sign": {
        "RSA 2048": 900,
        "RSA 3072": 340,
        "RSA 4096": 150,
        "P-256": 330,
        "P-256K": 330,
        "P-384": 160,
        "P-521": 200,
    },
    "verify": {
        "RSA 2048": 3400,
        "RSA 3072": 3400,
        "RSA 4096": 3700,
        "P-256": 130,
        "P-256K": 130,
        "P-384": 82,
        "P-521": 28,
    },
}
_LEAST_BURST = 2.0
_BURST_SECONDS = 0.2
_ROUNDING = 1e-6


def burst(rate: float) -> float:
    """How many may come at once after a pause: a fifth of a second's worth, at least two."""
    return max(_LEAST_BURST, rate * _BURST_SECONDS)


def kind_of(version: KeyVersion) -> str:
    """The column of the published table that a key stands in; empty for AES."""
    if version.kty == RSA:
        return f"RSA {b64.decode_int(version.public['n']).bit_length()}"
    return version.public["crv"] if version.kty == EC else ""


class Pace:
    """Token buckets, one for each HSM, operation and, where it matters, kind of key."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._full_again: dict[tuple[str, str, str], float] = {}

    def require(self, hsm: str, op: str, version: KeyVersion | None) -> None:
        """Take one operation's share. Raises HsmError 429 where there is none left."""
        by_key = BY_KEY.get(op)
        kind = kind_of(version) if by_key is not None and version is not None else ""
        rate = RATES.get(op) if by_key is None else by_key.get(kind)
        if rate is None:
            return
        now = self._now()
        full_again = max(self._full_again.get((hsm, op, kind), now), now)
        if (full_again - now) * rate > burst(rate) - 1 + _ROUNDING:
            raise throttled()
        self._full_again[hsm, op, kind] = full_again + 1 / rate
