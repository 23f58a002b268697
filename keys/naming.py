"""Names of several keys that are generated together: a part they share, and a number. Pure."""

from typing import Final

#: How many keys one request may make. At one creation a second this is a little over eight minutes.
MOST_AT_ONCE: Final = 500
MOST_DIGITS: Final = 9
COUNT_RULE: Final = f"Generate 1 to {MOST_AT_ONCE} keys at once."
FIRST_RULE: Final = "Numbers start at 0 or above."
DIGITS_RULE: Final = f"Use 1 to {MOST_DIGITS} digits."


class BadCount(ValueError):
    """The numbers do not work; ``field`` is the one to correct."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


def counted_names(base: str, *, count: int, first: int = 1, digits: int = 3) -> list[str]:
    """``base`` alone for one key; for more, ``base`` and a number of at least so many digits.

    ``eseal-`` with 3 keys from 1 gives ``eseal-001``, ``eseal-002``, ``eseal-003``. BadCount when the
    numbers are out of range, or when the last one has more digits than the first: such names would not
    sort in their order.
    """
    if not 1 <= count <= MOST_AT_ONCE:
        raise BadCount(COUNT_RULE, field="count")
    if count == 1:
        return [base]
    if first < 0:
        raise BadCount(FIRST_RULE, field="first")
    if not 1 <= digits <= MOST_DIGITS:
        raise BadCount(DIGITS_RULE, field="digits")
    last = first + count - 1
    if len(str(last)) > digits:
        raise BadCount(f"The last number is {last}: use {len(str(last))} digits.", field="digits")
    return [f"{base}{number:0{digits}d}" for number in range(first, last + 1)]
