"""Bytes that people paste: hexadecimal or base64, in any of the usual writings. Pure."""

import base64
import re
from typing import Final

_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_SEPARATORS: Final = re.compile(r"[\s:]+")


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
