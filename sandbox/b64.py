"""base64url without padding, the form of every binary value on the wire (RFC 7515, section 2)."""

import base64
import binascii


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The bytes behind ``text``. Raises ValueError where it is not base64url."""
    try:
        raw = text.encode("ascii").rstrip(b"=")
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as err:
        raise ValueError("not base64url") from err


def encode_int(value: int, length: int | None = None) -> str:
    """A big-endian unsigned integer of ``length`` bytes, or of as many as it needs (RFC 7518, section 2)."""
    size = length or max(1, (value.bit_length() + 7) // 8)
    return encode(value.to_bytes(size, "big"))


def decode_int(text: str) -> int:
    return int.from_bytes(decode(text), "big")
