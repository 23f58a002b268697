"""How the services say no, and that it is on record."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from django.db import transaction

from audit.services import Outcome, record
from cryptosources.errors import SourceError
from cryptosources.models import CryptoSource
from keys.lifecycle import OperationKind
from keys.models import KeyOperation, ManagedKey
from licensing.services import FeatureNotLicensed

P = ParamSpec("P")
Asked = TypeVar("Asked")


class OperationRefused(Exception):
    """The operation makes no sense now; the text says why and what to do. Nothing was changed."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


#: Form fields whose errors are slips of the pen; a wrongly typed name before a purge is not.
SLIPS: Final = frozenset(
    {"name", "count", "first", "digits", "digest", "algorithm", "not_before", "expires_at", "tags"}
)


def recorded(
    kind: OperationKind | None = None,
) -> Callable[[Callable[P, Asked]], Callable[P, Asked]]:
    """Record a refusal as well: who tried what, and why not. Slips in a form's fields are no attempts.

    ``kind`` None: the arguments tell it (``kind``, or the ``operation`` to be tried again). The subject is
    the ``key``, that ``operation``'s key, the ``source``, or the ``batch``'s source.
    """

    def decorate(ask: Callable[P, Asked]) -> Callable[P, Asked]:
        @wraps(ask)
        def asking(*args: P.args, **asked: P.kwargs) -> Asked:
            try:
                with transaction.atomic():
                    return ask(*args, **asked)
            except (OperationRefused, SourceError, FeatureNotLicensed) as refusal:
                if getattr(refusal, "field", "") not in SLIPS:
                    _record_refusal(kind, asked, str(refusal))
                raise

        return asking

    return decorate


def _record_refusal(kind: OperationKind | None, asked: Mapping[str, Any], reason: str) -> None:
    """In a transaction of its own: the refused one was rolled back."""
    operation: KeyOperation | None = asked.get("operation")
    key: ManagedKey | None = operation.key if operation else asked.get("key")
    subject: ManagedKey | CryptoSource = key or asked.get("source") or asked["batch"].source
    what = kind or (operation.what if operation else asked["kind"])
    record(
        action=f"key.{what}",
        actor=asked["actor"],
        subject_type="managed key" if key else "crypto source",
        subject_id=str(subject.pk),
        subject_name=str(subject),
        outcome=Outcome.REFUSED,
        details={"reason": reason},
        now=asked["now"],
    )
