"""Uploads that are hashed while they arrive: no file reaches the disk, and none is held in memory."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

HASHES: Final = ("sha256", "sha384", "sha512")
#: Bytes of an upload that are kept: enough for any signature, in any writing.
HEAD: Final = 16 * 1024


if TYPE_CHECKING:
    BytesUpload = UploadedFile[bytes]
else:
    BytesUpload = UploadedFile


class HashedUpload(BytesUpload):
    """An upload of which only the digests, the size and the first ``HEAD`` bytes are left."""

    def __init__(self, name: str, size: int, digests: dict[str, bytes], head: bytes) -> None:
        super().__init__(file=None, name=name, size=size)
        self.digests = digests
        self.head = head

    @property
    def whole(self) -> bytes | None:
        """The content, if it was small enough to be kept."""
        return self.head if self.size == len(self.head) else None


class HashingUploadHandler(FileUploadHandler):
    """Hashes each chunk (64 KiB by default) and forgets it."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self._hashes = {name: hashlib.new(name) for name in HASHES}
        self._head = b""

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        for running in self._hashes.values():
            running.update(raw_data)
        if len(self._head) < HEAD:
            self._head += raw_data[: HEAD - len(self._head)]

    def file_complete(self, file_size: int) -> HashedUpload:
        digests = {name: running.digest() for name, running in self._hashes.items()}
        return HashedUpload(self.file_name or "", file_size, digests, self._head)


def hashing_uploads(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Hash the uploads to ``view`` (an ``AdminSite.admin_view``, which checks the CSRF token itself).

    The handler has to be set before anything reads the body, as the CSRF check of the middleware
    would; ``admin_view`` repeats that check inside, so it is put off, not left out.
    """

    @csrf_exempt
    def receive(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        request.upload_handlers = [HashingUploadHandler(request)]
        return view(request, *args, **kwargs)

    return receive
