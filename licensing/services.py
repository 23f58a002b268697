"""What the licence allows. Asked in services and again in workers; every answer reads the database."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.db import transaction

from audit.actors import Actor
from audit.services import record
from licensing.models import Licence
from licensing.tokens import BadIssuerKeys, Claims, IssuerKeys, LicenceError, verify

__all__ = (
    "BadIssuerKeys",
    "Claims",
    "FeatureNotLicensed",
    "LicenceError",
    "LicenceStatus",
    "current",
    "install_licence",
    "installable",
    "read_licence",
    "refusal",
    "refusal_in",
    "require_feature",
)


class FeatureNotLicensed(Exception):
    """The licence does not allow it; ``reason`` is a sentence for people."""

    def __init__(self, feature: str, reason: str) -> None:
        super().__init__(reason)
        self.feature = feature
        self.reason = reason


@dataclass(frozen=True, slots=True)
class LicenceStatus:
    """The licence in force, or why there is none (``problem``, a sentence; empty when all is well).

    ``claims`` is None when nothing is installed or the installed one cannot be verified.
    """

    claims: Claims | None
    problem: str = ""

    @property
    def in_force(self) -> bool:
        return not self.problem

    @property
    def customer(self) -> str:
        return self.claims.customer if self.claims else ""

    @property
    def features(self) -> frozenset[str]:
        """What is enabled now: nothing when the licence is not in force."""
        return self.claims.features if self.claims and self.in_force else frozenset()

    @property
    def not_before(self) -> datetime | None:
        return self.claims.not_before if self.claims else None

    @property
    def not_after(self) -> datetime | None:
        return self.claims.not_after if self.claims else None


def require_feature(feature: str, *, now: datetime) -> None:
    """FeatureNotLicensed unless the licence in force names the feature."""
    if reason := refusal(feature, now=now):
        raise FeatureNotLicensed(feature, reason)


def refusal(feature: str, *, now: datetime) -> str:
    """Why the feature is not available, as a sentence for people; empty when it is."""
    return refusal_in(current(now=now), feature)


def refusal_in(status: LicenceStatus, feature: str) -> str:
    """As :func:`refusal`, for many features and one look at the database."""
    if status.problem or feature in status.features:
        return status.problem
    return f"The licence of {status.customer} does not include it ({feature})."


def current(*, now: datetime) -> LicenceStatus:
    """The licence installed last, verified; one query. An older one never comes back by itself."""
    token = Licence.objects.order_by("-id").values_list("token", flat=True).first()
    if token is None:
        return LicenceStatus(None, "No licence is installed.")
    try:
        claims = read_licence(token)
    except LicenceError as err:
        return LicenceStatus(None, f"The installed licence cannot be used. {err}")
    return LicenceStatus(claims, _dates_problem(claims, now))


def read_licence(token: str) -> Claims:
    """The claims of a licence with a good signature, whatever its dates; LicenceError."""
    return _verified(token.strip(), *_issuer_file())


def installable(*, token: str, now: datetime) -> Claims:
    """The claims of a licence that may be put in force now; LicenceError says why it may not."""
    claims = read_licence(token)
    if problem := _dates_problem(claims, now):
        raise LicenceError(problem)
    return claims


def install_licence(*, token: str, actor: Actor, now: datetime) -> Licence:
    """Put a licence in force and record it. LicenceError when it is not genuine or not in its dates.

    Installing the same licence again adds a row: it is in force again, as whoever did it meant.
    """
    claims = installable(token=token, now=now)
    with transaction.atomic():
        licence = Licence.objects.create(
            token=token.strip(),
            licence_id=claims.licence_id,
            customer=claims.customer,
            features=sorted(claims.features),
            not_before=claims.not_before,
            not_after=claims.not_after,
            installed_at=now,
            installed_by=actor.name,
        )
        _record_installed(licence, actor, now)
    return licence


def _record_installed(licence: Licence, actor: Actor, now: datetime) -> None:
    record(
        action="licence.installed",
        actor=actor,
        subject_type="licence",
        subject_id=str(licence.pk),
        subject_name=str(licence),
        details={
            "features": licence.features,
            "starts": licence.not_before.isoformat(),
            "ends": licence.not_after.isoformat(),
        },
        now=now,
    )


def _dates_problem(claims: Claims, now: datetime) -> str:
    if now < claims.not_before:
        return f"The licence of {claims.customer} starts on {claims.not_before:%d %B %Y, %H:%M} UTC."
    if now >= claims.not_after:
        return f"The licence of {claims.customer} ended on {claims.not_after:%d %B %Y, %H:%M} UTC."
    return ""


def _issuer_file() -> tuple[str, int, int]:
    """The issuer key file with what tells one content from the next."""
    name = settings.LICENCE_ISSUER_KEYS_FILE
    if not name:
        raise BadIssuerKeys("No issuer is known here: set KEYMANAGER_LICENCE_ISSUER_KEYS_FILE.")
    try:
        state = Path(name).stat()
    except OSError as err:
        raise BadIssuerKeys(f"The issuer's keys {name} cannot be read: {err.strerror}.") from err
    return name, state.st_mtime_ns, state.st_ino


@lru_cache(maxsize=8)
def _verified(token: str, name: str, _modified: int, _inode: int) -> Claims:
    """Claims are facts of token and keys alone, so they may be remembered; dates are checked each time."""
    return verify(token, IssuerKeys.parse(Path(name).read_text(encoding="utf-8")))
