"""Scopes of roles: the whole HSM, which is ``/`` or ``/keys``, and single keys, ``/keys/{name}``."""

import re

from sandbox import errors

WHOLE = frozenset(("/", "/keys"))
_KEY = re.compile(r"/keys/[0-9a-zA-Z-]{1,127}")


def check(scope: str) -> None:
    """Raises HsmError 400 for anything but the whole HSM or a single key. The key need not exist."""
    if scope not in WHOLE and not _KEY.fullmatch(scope):
        raise errors.invalid_scope()


def is_same(first: str, second: str) -> bool:
    """Names of keys are compared without regard to case."""
    return first.lower() == second.lower() or {first, second} <= WHOLE


def covers(held: str, scope: str) -> bool:
    """Whether what is held at ``held`` holds at ``scope``: there, and below the whole HSM."""
    return held in WHOLE or is_same(held, scope)
