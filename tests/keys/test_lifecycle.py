"""The table of what may be asked where, and the order of steps."""

import pytest

from keys.lifecycle import OperationKind, Residency, Step, allowed, possible, steps

K, R = OperationKind, Residency


@pytest.mark.parametrize(
    ("residency", "kinds"),
    [
        (R.CREATING, ()),
        (R.RESIDENT, (K.BACKUP, K.DELETE, K.ROTATE, K.UPDATE, K.SIGN)),
        (R.DELETED, (K.RECOVER, K.PURGE)),
        (R.ABSENT, (K.RESTORE,)),
        (R.PURGED, ()),
        (R.NOT_CREATED, ()),
        (R.FAULTED, (K.BACKUP, K.DELETE, K.RESTORE)),
    ],
)
def test_what_is_possible_where(residency: Residency, kinds: tuple[OperationKind, ...]) -> None:
    assert possible(residency) == kinds
    assert {kind for kind in K if allowed(kind, residency)} - {K.GENERATE} == set(kinds)


def test_whatever_makes_key_material_is_backed_up_when_the_source_says_so() -> None:
    assert steps(K.GENERATE, backed_up=True) == (Step.CREATE, Step.BACK_UP, Step.VERIFY_BACKUP)
    assert steps(K.ROTATE, backed_up=True)[-2:] == (Step.BACK_UP, Step.VERIFY_BACKUP)
    assert steps(K.GENERATE, backed_up=False) == (Step.CREATE,)
    assert steps(K.SIGN, backed_up=True) == (Step.SIGN,)


def test_only_signatures_run_beside_other_operations() -> None:
    assert [kind for kind in K if not kind.exclusive] == [K.SIGN]


def test_an_inactive_source_still_backs_up_deletes_and_purges() -> None:
    assert {kind for kind in K if not kind.gated} == {K.BACKUP, K.DELETE, K.PURGE}
