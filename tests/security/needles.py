"""Looking for known secrets in bytes of any kind: plain, cut short, encoded, packed or in UTF-16."""

import base64
import binascii
import re
import zlib
from collections.abc import Iterator, Mapping
from urllib.parse import unquote_to_bytes

# So many bytes in a row of a secret, or of an encoding of it, are a find.
WINDOW = 16
# Long values (backup blobs) are known by a window every few bytes: 16 + 8 - 1 in a row are found for sure.
LONG, LONG_STRIDE = 200, 8
CHUNK = 1 << 20
# Files of databases are full of nothing; no secret is.
EMPTY = re.compile(rb"\0{64,}")
PACKED = re.compile(rb"eJ[A-Za-z0-9_+/-]{16,}")


class Hunt:
    """Knows secrets by name; ``search`` names those of which a piece lies in the data."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._windows: dict[bytes, str] = {}
        for name, value in secrets.items():
            if len(value) < WINDOW:
                raise ValueError(f"{name} is too short to be looked for")
            for form in encodings(value):
                self._windows |= dict.fromkeys(_windows(form, _stride(value)), name)

    def search(self, data: bytes) -> set[str]:
        dense = EMPTY.sub(bytes(WINDOW), data)
        return {name for view in views(dense) for name in self._search(view)}

    def _search(self, data: bytes) -> Iterator[str]:
        for start in range(0, len(data), CHUNK):
            pieces = set(_windows(data[start : start + CHUNK + WINDOW - 1], 1))
            yield from (self._windows[piece] for piece in pieces & self._windows.keys())


def _stride(value: bytes) -> int:
    return LONG_STRIDE if len(value) > LONG else 1


def _windows(data: bytes, stride: int) -> Iterator[bytes]:
    return (data[i : i + WINDOW] for i in range(0, len(data) - WINDOW + 1, stride))


def encodings(value: bytes) -> Iterator[bytes]:
    """The value as it may be written: itself, hexadecimal, base64 within anything, and that once more.

    Twice, because a message's body is base64 of JSON, in which bytes can only be base64 again.
    """
    yield value
    yield value.hex().encode()
    yield value.hex().upper().encode()
    for once in _base64_within(value):
        yield once
        yield from _base64_within(once)


def _base64_within(value: bytes) -> Iterator[bytes]:
    """What base64 of *any* text with the value in it contains, at each of the three alignments."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value).rstrip(b"=")
        end = None if (before + len(value)) % 3 == 0 else -1
        inner = encoded[(0, 2, 3)[before] : end]
        yield inner
        if (safe := inner.translate(bytes.maketrans(b"+/", b"-_"))) != inner:
            yield safe


def views(data: bytes) -> Iterator[bytes]:
    """The data; without NULs (UTF-16 and UTF-32 of ASCII); percent-decoded; and what is packed in it."""
    yield data
    if b"\0" in data:
        yield data.replace(b"\0", b"")
    if b"%" in data:
        yield unquote_to_bytes(data)
    yield from _unpacked(data)


def _unpacked(data: bytes) -> Iterator[bytes]:
    """zlib within base64, as Django keeps sessions and long cookies."""
    for found in PACKED.findall(data):
        text = found.translate(bytes.maketrans(b"+/", b"-_"))
        try:
            packed = base64.urlsafe_b64decode(text[: len(text) // 4 * 4])
            yield zlib.decompressobj().decompress(packed)
        except (binascii.Error, zlib.error):
            continue
