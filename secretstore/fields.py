"""The column for sealed values."""

from typing import Any

from django.db import models

from secretstore.core import recipients
from secretstore.errors import CannotOpen


class Sealed(bytes):
    """A sealed value as stored. Its repr shows the size only, so that dumps of a row stay readable."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<sealed, {len(self)} bytes>"

    __str__ = __repr__


class SealedField(models.BinaryField):  # type: ignore[type-arg]  # stubs make it generic, Django does not
    """Bytes sealed by :func:`secretstore.services.seal_into`; nothing else can be stored here.

    ``recovery=True`` seals to the offline recovery key as well.
    """

    description = "Sealed value"

    def __init__(self, *args: Any, recovery: bool = False, **kwargs: Any) -> None:
        self.recovery = recovery
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        name, path, args, kwargs = super().deconstruct()
        if self.recovery:
            kwargs["recovery"] = True
        return name, path, args, kwargs

    def from_db_value(self, value: bytes | memoryview | None, *_: object) -> Sealed | None:
        return None if value is None else Sealed(value)

    def to_python(self, value: Any) -> Sealed | None:
        value = super().to_python(value)
        return None if value is None else Sealed(value)

    def get_prep_value(self, value: Any) -> bytes | None:
        """ValueError for anything but a sealed value: clear text never reaches the column."""
        if value is None:
            return None
        try:
            recipients(bytes(value))
        except (CannotOpen, TypeError):
            raise ValueError(f"{self.name} takes sealed values only; use seal_into().") from None
        return bytes(value)
