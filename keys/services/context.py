"""What a step of an operation works with: the claim, the key on record, the provider."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from uuid import UUID

from django.conf import settings

from cryptosources.providers.api import FullProvider, KeyInfo, KeyRef, KeyState
from cryptosources.providers.errors import KeyMismatch, KeyNotFound
from cryptosources.services.connections import provider_for
from cryptosources.services.gate import require_usable
from keys.attributes import INSTALLATION_TAG, KEY_TAG
from keys.lifecycle import OperationState, Residency
from keys.models import Installation, KeyOperation, ManagedKey

#: Writes what a step found or changed, inside the transaction that settles its claim.
Write = Callable[[datetime], None]


class ClaimLost(Exception):
    """Another worker took the operation over: stop without touching anything."""


class StepFailed(Exception):
    """A step ended for good. ``residency`` is where the key was found to be; None leaves it as recorded.

    ``write`` records what the step changed in the HSM all the same, in the failure's transaction.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        residency: Residency | None = None,
        write: Write | None = None,
    ) -> None:
        super().__init__(message)
        self.write = write
        self.message = message
        self.code = code
        self.residency = residency


@dataclass(frozen=True)
class StepContext:
    """One step's view. HSM calls go through ``look`` or after ``guard``; writes wait for the outcome."""

    operation: KeyOperation
    token: UUID
    clock: Callable[[], datetime]

    @property
    def key(self) -> ManagedKey:
        return self.operation.key

    @property
    def ref(self) -> KeyRef:
        return KeyRef(self.key.name)

    @cached_property
    def provider(self) -> FullProvider:
        return provider_for(source=self.key.source)

    @cached_property
    def tags(self) -> dict[str, str]:
        """What marks the key as ours in the HSM: no personal data, the HSM may copy tags anywhere."""
        return {INSTALLATION_TAG: str(Installation.objects.get().pk), KEY_TAG: str(self.key.pk)}

    def guard_use(self) -> None:
        """Gate and guard, directly before a call that an Inactive or unlicensed source must not make."""
        require_usable(source=self.key.source, now=self.clock())
        self.guard()

    def remember(self, **found: object) -> None:
        """Commit what later attempts must know, before the HSM is asked. ClaimLost when overtaken."""
        self.operation.memo = {**self.operation.memo, **found}
        changed = KeyOperation.objects.filter(
            pk=self.operation.pk, claim_token=self.token, state=OperationState.RUNNING
        ).update(memo=self.operation.memo)
        if not changed:
            raise ClaimLost

    def guard(self) -> None:
        """Renew the claim just before an HSM call; ClaimLost when it is no longer ours.

        The renewed claim is longer than any provider deadline and any task's hard limit, so nobody else
        acts while the call is out.
        """
        renewed = KeyOperation.objects.filter(
            pk=self.operation.pk, claim_token=self.token, state=OperationState.RUNNING
        ).update(claim_expires_at=claim_end(self.clock()), due_at=claim_end(self.clock()))
        if not renewed:
            raise ClaimLost

    def look(self) -> KeyInfo | None:
        """The key as the HSM describes it, live or soft-deleted; None when it is not there at all."""
        self.guard()
        try:
            return self.provider.describe_key(self.ref)
        except KeyNotFound:
            return None

    def is_ours(self, info: KeyInfo) -> bool:
        """The tags name this installation and this row."""
        return all(info.tags.get(tag) == value for tag, value in self.tags.items())

    def require_ours(self, info: KeyInfo) -> None:
        """Nothing that this console did not make is ever changed: KeyMismatch otherwise.

        Proof is a version on record whose public key the HSM confirms; where none is on record yet, tags
        that name this installation and this row. Tags that name somebody else are always a mismatch.
        """
        foreign_tag = any(info.tags.get(tag, value) != value for tag, value in self.tags.items())
        if foreign_tag or not self._proven(info):
            raise KeyMismatch(
                f"The HSM's key {self.key.name} is not the one on record: its tags or its public key differ.",
                operation=self.operation.step,
                key=self.key.name,
                request_id=info.request_id,
            )

    def _proven(self, info: KeyInfo) -> bool:
        recorded = self.key.versions.filter(version=info.ref.version or "").first()
        if recorded is not None:
            return bytes(recorded.public_key_der) == info.public_key_der
        newest = self.key.versions.first()
        if newest is None:
            return self.is_ours(info)
        if info.state is not KeyState.ACTIVE:
            return False
        # Somebody added a version outside this console: an older one on record still proves whose key it is.
        self.guard()
        try:
            known = self.provider.describe_key(KeyRef(self.key.name, newest.version))
        except KeyNotFound:
            return False
        return known.public_key_der == bytes(newest.public_key_der)

    def require_live(self) -> KeyInfo:
        """The live key, ours; StepFailed with what was found when it is not live."""
        info = self.look()
        if info is None or info.state is not KeyState.ACTIVE:
            raise StepFailed(
                "The key is not live in the HSM any more; somebody removed it outside this console.",
                residency=residency_found(self.key, info),
            )
        self.require_ours(info)
        return info


def residency_found(key: ManagedKey, info: KeyInfo | None) -> Residency:
    """The residency that a look at the HSM shows."""
    if info is not None:
        return Residency.RESIDENT if info.state is KeyState.ACTIVE else Residency.DELETED
    return Residency.ABSENT if key.verified_backup_id else Residency.FAULTED


def claim_end(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.CLAIM_SECONDS)
