"""Bytes that people paste: hexadecimal or base64, in any of the usual writings. Pure."""

import base64
import re
from typing import Final

from cryptosources.providers.algorithms import SignatureAlgorithm

_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_SEPARATORS: Final = re.compile(r"[\s:]+")


#: Lengths of digests that people take for each other: SHA-1, SHA-256, SHA-384, SHA-512.
_DIGEST_SIZES: Final = frozenset({20, 32, 48, 64})


def parse_digest(text: str, algorithm: SignatureAlgorithm) -> bytes:
    """A digest as :func:`parse_bytes` reads it; its length is for the algorithm to judge.

    Words without a sign that base64 lacks can be read as base64. ValueError for what has no digest's length.
    """
    compact = _SEPARATORS.sub("", text)
    try:
        digest = parse_bytes(compact)
    except ValueError:
        digest = b""
    if not _HEX.fullmatch(compact) and len(digest) not in _DIGEST_SIZES:
        hashed = f"SHA-{algorithm.hash_name.removeprefix('sha')}"
        raise ValueError(
            f"This is neither hexadecimal nor base64 of {algorithm.digest_size} bytes ({hashed})."
        )
    return digest


def parse_bytes(text: str) -> bytes:
    """Read hexadecimal (spaces and colons allowed) or base64 (plain or URL-safe, padded or not).

    What can be read as hexadecimal is hexadecimal: a base64 text of a digest or a signature consists
    of hexadecimal digits only by a chance that nobody will see. ValueError for anything else.
    """
    compact = _SEPARATORS.sub("", text)
    if _HEX.fullmatch(compact):
        return bytes.fromhex(compact)
    plain = compact.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError as error:
        raise ValueError("This is neither hexadecimal nor base64.") from error
