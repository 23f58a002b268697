"""A value that must not be shown."""

from typing import Final, NoReturn

_MASK: Final = "Secret('…')"


class Secret:
    """Bytes that never appear in a repr, a format string, a pickle or a comparison.

    ``reveal`` and ``reveal_text`` are the only ways to the value; call them at the place of use.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes | str) -> None:
        self._value = value.encode() if isinstance(value, str) else bytes(value)

    def reveal(self) -> bytes:
        return self._value

    def reveal_text(self) -> str:
        return self._value.decode()

    def __repr__(self) -> str:
        return _MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return _MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Secret cannot be pickled.")
