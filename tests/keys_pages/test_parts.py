"""The small pure parts: pasted bytes, hashed uploads, spans of time, words for every value."""

import hashlib
from datetime import timedelta
from io import BytesIO

import pytest
from django.http import HttpRequest

from keys import wording
from keys.encodings import parse_bytes
from keys.lifecycle import OperationKind, OperationState, Residency, Step
from keys.uploads import HEAD, HashedUpload, HashingUploadHandler


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("00ff", b"\x00\xff"),
        ("00 FF\n", b"\x00\xff"),
        ("00:ff", b"\x00\xff"),
        ("AP8=", b"\x00\xff"),
        ("AP8", b"\x00\xff"),
        ("-_-_", b"\xfb\xff\xbf"),
        ("+/+/", b"\xfb\xff\xbf"),
        ("abcd", b"\xab\xcd"),
        ("", b""),
    ],
)
def test_pasted_bytes_are_read(text: str, value: bytes) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["a", "not hex or base64!", "0x00ff!", "é", "AA=A"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither hexadecimal nor base64"):
        parse_bytes(text)


def _upload(content: bytes, *, chunk: int) -> HashedUpload:
    handler = HashingUploadHandler(HttpRequest())
    handler.new_file("file", "x.pdf", "application/pdf", len(content), None, None)
    stream = BytesIO(content)
    while piece := stream.read(chunk):
        handler.receive_data_chunk(piece, 0)
    return handler.file_complete(len(content))


@pytest.mark.parametrize("size", [0, 1, HEAD - 1, HEAD, HEAD + 1, 5 * HEAD + 7])
def test_an_upload_leaves_its_digests_and_a_short_head(size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    upload = _upload(content, chunk=1000)
    assert upload.digests == {
        name: hashlib.new(name, content).digest() for name in ("sha256", "sha384", "sha512")
    }
    assert upload.head == content[:HEAD]
    assert upload.whole == (content if size <= HEAD else None)
    assert (upload.name, upload.size) == ("x.pdf", size)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0.0 s"),
        (0.44, "0.4 s"),
        (9.99, "10.0 s"),
        (12.4, "12 s"),
        (59.6, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3600, "1 h 0 min"),
        (12_000, "3 h 20 min"),
    ],
)
def test_spans_of_time_are_told_shortly(seconds: float, shown: str) -> None:
    assert wording.span(timedelta(seconds=seconds)) == shown


def test_there_are_words_for_every_value() -> None:
    assert set(wording.ACTS) == set(OperationKind)
    assert set(wording.STEPS) == set(Step)
    assert set(wording.PLACES) == set(wording.NOT_FROM_HERE) == set(Residency)
    assert set(wording.STATES) == set(OperationState)
