"""Where a key is, what may be asked of it, and in which steps: pure, no Django.

The residency of a managed key says whether it is in its HSM now. Operations are what people ask for;
each is carried out as one or more steps, one HSM step a task.
"""

from enum import StrEnum
from typing import Final


class Residency(StrEnum):
    CREATING = "creating"  # a row exists; the HSM is being asked
    RESIDENT = "resident"  # live in the HSM
    DELETED = "deleted"  # soft-deleted: recover or purge
    ABSENT = "absent"  # not in the HSM; a verified backup can bring it back
    PURGED = "purged"  # gone for good: no backup
    NOT_CREATED = "not_created"  # the HSM refused to create it
    FAULTED = "faulted"  # a person must look; ``fault`` says why


#: Residencies in which the name is free again for another key of the same source.
NAME_FREE: Final = frozenset({Residency.PURGED, Residency.NOT_CREATED})


class OperationKind(StrEnum):
    GENERATE = "generate"
    BACKUP = "backup"
    DELETE = "delete"
    RECOVER = "recover"
    PURGE = "purge"
    RESTORE = "restore"
    ROTATE = "rotate"
    UPDATE = "update"
    SIGN = "sign"

    @property
    def exclusive(self) -> bool:
        """Only one exclusive operation per key is under way at a time; signatures run beside anything."""
        return self is not OperationKind.SIGN

    @property
    def gated(self) -> bool:
        """An Inactive source refuses it (product promise 5); backups, deletes and purges still run."""
        return self not in {OperationKind.BACKUP, OperationKind.DELETE, OperationKind.PURGE}


class OperationState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


#: How many versions of one key a Managed HSM keeps (vendor's page *Managed HSM service limits*).
MOST_VERSIONS: Final = 100

#: In a generate operation's memo: the create was sent and not refused, so the key may be in the HSM.
CREATE_SENT: Final = "create_sent"
#: In a rotation's memo: the new version was asked for and not refused, so one may be in the HSM.
ROTATE_SENT: Final = "rotate_sent"
#: In an update's memo: the change was sent and not refused, so the HSM may hold what no backup does.
UPDATE_SENT: Final = "update_sent"
#: In an operation's memo: how many attempts at the current step ended with a known outcome.
KNOWN_ENDS: Final = "known_ends"
#: In an operation's memo: it failed for what the source's connection test looks into (sign-in, rights).
SOURCE_TROUBLE: Final = "source_trouble"
#: Operations that move the key itself: when one ends in doubt, nobody knows where the key is.
MOVES: Final = frozenset(
    {OperationKind.DELETE, OperationKind.RECOVER, OperationKind.PURGE, OperationKind.RESTORE}
)


#: States in which an operation still owes work.
UNDER_WAY: Final = (OperationState.PENDING, OperationState.RUNNING)


class Step(StrEnum):
    CREATE = "create"
    BACK_UP = "back_up"
    VERIFY_BACKUP = "verify_backup"
    DELETE = "delete"
    RECOVER = "recover"
    PURGE = "purge"
    RESTORE = "restore"
    NOTE_VERSIONS = "note_versions"
    ROTATE = "rotate"
    UPDATE = "update"
    SIGN = "sign"


_BACKUP: Final = (Step.BACK_UP, Step.VERIFY_BACKUP)
_STEPS: Final[dict[OperationKind, tuple[Step, ...]]] = {
    OperationKind.GENERATE: (Step.CREATE,),
    OperationKind.BACKUP: _BACKUP,
    OperationKind.DELETE: (Step.DELETE,),
    OperationKind.RECOVER: (Step.RECOVER,),
    OperationKind.PURGE: (Step.PURGE,),
    OperationKind.RESTORE: (Step.RESTORE,),
    OperationKind.ROTATE: (Step.NOTE_VERSIONS, Step.ROTATE),
    OperationKind.UPDATE: (Step.UPDATE,),
    OperationKind.SIGN: (Step.SIGN,),
}
_FROM: Final[dict[OperationKind, frozenset[Residency]]] = {
    OperationKind.GENERATE: frozenset({Residency.CREATING, Residency.NOT_CREATED}),
    # From FAULTED, what looks at the HSM first and takes the key as it finds it; never a purge.
    OperationKind.BACKUP: frozenset({Residency.RESIDENT, Residency.FAULTED}),
    OperationKind.DELETE: frozenset({Residency.RESIDENT, Residency.FAULTED}),
    OperationKind.RECOVER: frozenset({Residency.DELETED}),
    OperationKind.PURGE: frozenset({Residency.DELETED}),
    OperationKind.RESTORE: frozenset({Residency.ABSENT, Residency.FAULTED}),
    OperationKind.ROTATE: frozenset({Residency.RESIDENT}),
    OperationKind.UPDATE: frozenset({Residency.RESIDENT}),
    OperationKind.SIGN: frozenset({Residency.RESIDENT}),
}


def steps(kind: OperationKind, *, backed_up: bool) -> tuple[Step, ...]:
    """The steps of an operation in order.

    ``backed_up``: the source keeps a backup of every key, so whatever makes what earlier backups lack
    (a key, a version, other dates or tags) takes and verifies a backup before it counts as done.
    """
    if backed_up and kind in (OperationKind.GENERATE, OperationKind.ROTATE, OperationKind.UPDATE):
        return _STEPS[kind] + _BACKUP
    return _STEPS[kind]


def allowed(kind: OperationKind, residency: Residency) -> bool:
    """Whether the operation makes sense for a key in that residency."""
    return residency in _FROM[kind]


def possible(residency: Residency) -> tuple[OperationKind, ...]:
    """The operations a person may ask for now, in the order the console shows them."""
    return tuple(
        kind for kind in OperationKind if kind is not OperationKind.GENERATE and allowed(kind, residency)
    )
