"""No failed step leaves a person without the next thing to do."""

import pytest

from cryptosources.providers.advice import AGAIN, next_thing
from cryptosources.providers.azure import tables
from cryptosources.providers.errors import KeyMismatch, KeyNotFound, OutcomeUnknown, UnsupportedOperation

ROWS = (
    *tables.HSM_ROWS,
    *tables.ENTRA_ROWS,
    tables.SERVER_ROW,
    tables.REDIRECT_ROW,
    tables.ENTRA_OTHER,
    tables.ENTRA_DOWN,
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.status} {row.words}")
def test_every_refusal_of_the_vendor_has_a_next_thing_to_do(row: tables.Row) -> None:
    error = row.error(row.words, remedy=row.remedy)
    advice = next_thing(error)
    assert advice.endswith(".")
    assert advice == row.remedy or not row.remedy
    if not issubclass(row.error, UnsupportedOperation | KeyNotFound):
        assert advice != AGAIN


def test_a_lost_answer_has_its_own_words() -> None:
    assert "no answer came back" in next_thing(OutcomeUnknown("The HSM did not answer in time."))


def test_anything_else_is_tried_again_and_shown_to_somebody() -> None:
    assert next_thing(KeyMismatch("Another key.")) == AGAIN
