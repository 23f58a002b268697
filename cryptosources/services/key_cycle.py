"""The connection test's full cycle with a throw-away key.

The key's row (:class:`ThrowAwayKey`) is committed before the HSM is asked for the key and is deleted when the
key is proven to be gone. A task makes one HSM step, commits and sends the next; when a step fails or a worker
dies, the key is removed, not used further (see :mod:`.throw_away`).
"""

import hashlib
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Final

from celery.exceptions import SoftTimeLimitExceeded
from django.db import transaction

from cryptosources.errors import CycleRefused, SourceError
from cryptosources.models import PURGE_PROTECTION, ConnectionTest, CryptoSource, CycleStep, ThrowAwayKey
from cryptosources.providers.advice import AGAIN, next_thing
from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.api import HealthStep, KeyBackup, KeySpec, StepOutcome
from cryptosources.providers.errors import AccessDenied, AuthenticationFailed, KeyNotFound, ProviderError
from cryptosources.providers.signatures import signature_is_valid
from cryptosources.services import test_rows, throw_away
from cryptosources.services.gate import require_licensed, require_usable
from cryptosources.services.test_rows import TestLost, failed_step
from cryptosources.services.throw_away import ClaimLost, Held
from licensing.services import FeatureNotLicensed
from secretstore.secret import Secret
from secretstore.services import SecretStoreError, open_from, seal_into

NAME_PREFIX: Final = "km-test-"
NOT_BEGUN: Final = "cycle:not_begun"
_ALGORITHM: Final = SignatureAlgorithm.ES256


class StepRefused(Exception):
    """A step came to its end and found something wrong; ``name`` None: the step's own."""

    def __init__(self, message: str, *, remedy: str = AGAIN, name: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.name = name


# --- May it begin? --------------------------------------------------------------------------------


def refusal(*, source: CryptoSource) -> str:
    """Why the full cycle may not be asked for now, in a sentence; empty when it may."""
    if not source.is_active:
        return (
            "The source is Inactive, and the full cycle makes a key and signs with it. "
            "The ordinary test works all the same."
        )
    if source.is_purge_protected():
        return (
            "This HSM has purge protection: a deleted key stays in it until its retention ends, and so "
            "would the throw-away key."
        )
    if throw_away.owed(source).exists():
        return "The throw-away key of an earlier test is still being removed."
    return ""


def require_possible(*, source: CryptoSource) -> None:
    """Raise ``CycleRefused`` with the reason."""
    if reason := refusal(source=source):
        raise CycleRefused(reason)


def begin(*, test: ConnectionTest, now: datetime) -> bool:
    """Hand a running test on to the cycle. False when it does not begin; a step then says why.

    Raises ``TestLost``.
    """
    reason = _why_not_begun(test)
    if reason:
        label = "Throw-away key"
        test_rows.store_step(test, HealthStep(NOT_BEGUN, label, StepOutcome.SKIPPED, f"Not made: {reason}"))
        return False
    try:
        with transaction.atomic():
            source = CryptoSource.objects.select_for_update().filter(pk=test.source_id).first()
            if source is None:
                raise TestLost
            if source.revision != test.source_revision:
                raise CycleRefused("The source was changed while it was tested.")
            require_usable(source=source, now=now)
            require_possible(source=source)
            test_rows.renew(test, now)
            key = _new_row(test, now)
            throw_away.send_on_commit(key.pk)
    except (SourceError, FeatureNotLicensed) as error:
        test_rows.store_step(test, failed_step(NOT_BEGUN, "Throw-away key", str(error), remedy=AGAIN))
        return False
    return True


def _why_not_begun(test: ConnectionTest) -> str:
    if test_rows.failed_steps(test):
        return "a step above failed. Repair that first; a key that cannot be removed would stay in the HSM."
    outcomes = {step["name"]: step["outcome"] for step in test.steps}
    if outcomes.get(PURGE_PROTECTION) == StepOutcome.WARNING:
        return "this HSM has purge protection, so the key would stay in it until its retention ends."
    return ""


def _new_row(test: ConnectionTest, now: datetime) -> ThrowAwayKey:
    return ThrowAwayKey.objects.create(
        source_id=test.source_id,
        test=test,
        name=NAME_PREFIX + secrets.token_hex(8),
        created_at=now,
        due_at=now + throw_away.RESENT_AFTER,
    )


# --- One step -------------------------------------------------------------------------------------


def perform(*, key_id: uuid.UUID, clock: Callable[[], datetime]) -> None:
    """Make the next step with a throw-away key, if it is due and nobody holds it.

    Idempotent: a doubled or stray message finds nothing to claim.
    """
    held = throw_away.claim(key_id, clock)
    if held is None:
        return
    try:
        if held.row.is_being_removed:
            throw_away.remove(held)
        else:
            _advance(held)
    except ClaimLost:
        throw_away.claim_lost(held)
    except Exception:
        throw_away.break_off(held)
        raise


def _advance(held: Held) -> None:
    """The next step of the cycle; a step that fails is followed by the removal."""
    test = held.row.test
    if test is None or test.state != ConnectionTest.State.RUNNING:
        with transaction.atomic():
            held.pass_on(step=CycleStep.REMOVE)
        return
    started = time.monotonic()
    step, refused = _carry_out(held)
    step = replace(step, duration_ms=round((time.monotonic() - started) * 1000))
    try:
        with transaction.atomic():
            test_rows.renew(test, held.clock())
            test_rows.store_step(test, step)
            _hand_on(held, test, step, refused)
    except TestLost:  # somebody ended the test: the key must go all the same
        with transaction.atomic():
            _clean_up(held, refused)


def _hand_on(
    held: Held, test: ConnectionTest, step: HealthStep, refused: AuthenticationFailed | None
) -> None:
    """To the next step, to the removal, or to the end. Raises ``TestLost``."""
    if step.outcome is not StepOutcome.PASSED:
        if refused is not None:
            test_rows.finish(test, held.clock())
        _clean_up(held, refused)
    elif following := _FOLLOWING.get(CycleStep(held.row.step)):
        held.pass_on(step=following)
    else:
        held.forget()
        test_rows.finish(test, held.clock())


def _clean_up(held: Held, refused: AuthenticationFailed | None) -> None:
    """Remove the key next; not with a secret that was just refused, because repeating locks accounts."""
    if refused is None:
        held.pass_on(step=CycleStep.REMOVE)
    else:
        throw_away.leave(held, refused)


def _carry_out(held: Held) -> tuple[HealthStep, AuthenticationFailed | None]:
    """Make the step: how it went, and the refusal when the sign-in was refused."""
    kind = CycleStep(held.row.step)
    name, label = f"cycle:{kind}", str(kind.label)
    refused = None
    try:
        step = HealthStep(name, label, StepOutcome.PASSED, _STEPS[kind](held))
    except StepRefused as error:
        step = failed_step(error.name or name, label, error.message, remedy=error.remedy)
    except ProviderError as error:
        if error.outcome_known and kind in throw_away.MAKE_IT_APPEAR:
            held.write(in_doubt_until=None)
        refused = error if isinstance(error, AuthenticationFailed) else None
        step = _told(name, label, error)
    except SoftTimeLimitExceeded:
        step = failed_step(name, label, "The step took longer than a task may.", remedy=AGAIN)
    except FeatureNotLicensed as error:
        step = failed_step(
            name, label, error.reason, remedy="Install a licence that includes this type, then test again."
        )
    except (SourceError, SecretStoreError) as error:
        step = failed_step(name, label, str(error), remedy="Put that right, then test again.")
    return step, refused


def _told(name: str, label: str, error: ProviderError) -> HealthStep:
    """A provider's error as a step, with the next thing to do."""
    if isinstance(error, AccessDenied) and error.missing_right:
        return test_rows.denied_step(name, label, error)
    return failed_step(name, label, error.message, code=error.code, remedy=next_thing(error))


def _require_usable(held: Held) -> None:
    require_usable(source=held.row.source, now=held.clock())


def _require_licensed(held: Held) -> None:
    require_licensed(kind=held.row.source.provider_kind, now=held.clock())


def _create(held: Held) -> str:
    _require_usable(held)
    held.may_appear()
    spec = KeySpec(held.row.name, KeyAlgorithm.EC_P256, throw_away.tags_of(held.row))
    info = held.provider.create_key(spec)
    held.created(info)
    if not info.purgeable:
        raise StepRefused(
            f"This HSM has purge protection, as the new key shows ({info.recovery_level}). The key is "
            "deleted now; its remains stay until their retention ends.",
            remedy="Nobody can switch purge protection off. Leave “Enable Key Backup & Restore” off for this "
            "source, or use an HSM without it.",
            name=PURGE_PROTECTION,
        )
    return f"{held.row.name}, an EC key on P-256, tagged as a test key of this source."


def _sign(held: Held) -> str:
    _require_usable(held)
    held.guard()
    digest = hashlib.sha256(secrets.token_bytes(32)).digest()
    signature = held.provider.sign_digest(held.ref, digest, _ALGORITHM)
    public_key = bytes(held.row.public_key_der or b"")
    valid = signature_is_valid(
        public_key_der=public_key, digest=digest, signature=signature.value, algorithm=_ALGORITHM
    )
    if not valid:
        raise StepRefused(
            "The signature does not verify under the key's public key.",
            remedy="Do not use this source: another key answers, or something between changes answers.",
        )
    return f"{_ALGORITHM} over a random digest; it verifies here under the key's public key."


def _back_up(held: Held) -> str:
    _require_licensed(held)
    held.guard()
    backup = held.provider.backup_key(held.ref)
    held.provider.check_backup(backup)
    seal_into(held.row, "sealed_backup", Secret(backup.blob))
    held.write(sealed_backup=held.row.sealed_backup)
    return f"{len(backup.blob):,} bytes, kept sealed until the test is over."


def _delete(held: Held) -> str:
    _require_licensed(held)
    held.guard()
    held.provider.delete_key(held.ref)
    return "Deleted; the HSM still keeps its remains and its name."


def _purge(held: Held) -> str:
    _require_licensed(held)
    held.purge()
    return "Gone for good; the name is free again."


def _restore(held: Held) -> str:
    _require_usable(held)
    backup = KeyBackup(
        open_from(held.row, "sealed_backup").reveal(), held.provider.origin, name=held.row.name
    )
    held.may_appear()
    info = held.provider.restore_key(backup)
    held.appeared()
    if info.public_key_der != bytes(held.row.public_key_der or b""):
        raise StepRefused(
            "The restored key has another public key.",
            remedy="Do not rely on backups of this HSM; show this to whoever runs it.",
        )
    return "It is back, with the same public key."


def _gone(held: Held) -> str:
    held.guard()
    try:
        info = held.provider.describe_key(held.ref)
    except KeyNotFound:
        return f"The HSM knows no key {held.row.name}, live or deleted."
    raise StepRefused(f"The HSM still shows the key ({info.state.value.replace('_', ' ')}).")


_STEPS: Final[dict[CycleStep, Callable[[Held], str]]] = {
    CycleStep.CREATE: _create,
    CycleStep.SIGN: _sign,
    CycleStep.BACK_UP: _back_up,
    CycleStep.DELETE: _delete,
    CycleStep.PURGE: _purge,
    CycleStep.RESTORE: _restore,
    CycleStep.SIGN_AGAIN: _sign,
    CycleStep.DELETE_AGAIN: _delete,
    CycleStep.PURGE_AGAIN: _purge,
    CycleStep.GONE: _gone,
}
_ORDER: Final = tuple(_STEPS)
_FOLLOWING: Final = dict(pairwise(_ORDER))
