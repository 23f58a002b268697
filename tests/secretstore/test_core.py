"""Sealing and opening, without Django."""

import json
import pickle
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretstore.core import Binding, PrivateKey, PrivateRing, PublicRing, Purpose, marks, recipients
from secretstore.errors import BadRing, CannotOpen
from secretstore.secret import Secret

NOW = datetime(2026, 3, 14, tzinfo=UTC)
WORKERS, RECOVERY, STRANGER = (PrivateKey.generate(now=NOW) for _ in range(3))
PUBLIC = PublicRing(WORKERS.public, RECOVERY.public)
PRIVATE = PrivateRing((WORKERS,))
OFFLINE = PrivateRing((RECOVERY,), Purpose.RECOVERY)
PLACE = Binding("cryptosources_cryptosource", "sealed_secret", "b0a1")
CANARY = b"canary-5d1f77"


@given(st.binary(max_size=300))
@settings(max_examples=25, deadline=None)
def test_what_was_sealed_opens_again(value: bytes) -> None:
    assert PRIVATE.open(PUBLIC.seal(Secret(value), PLACE), PLACE).reveal() == value


def test_a_blob_of_a_megabyte_opens_with_the_workers_key_and_with_the_recovery_key() -> None:
    blob = bytes(range(256)) * 4096
    sealed = PUBLIC.seal(Secret(blob), PLACE, recovery=True)
    assert PRIVATE.open(sealed, PLACE).reveal() == blob
    assert OFFLINE.open(sealed, PLACE).reveal() == blob
    assert len(sealed) < len(blob) + 2500
    assert recipients(sealed) == (WORKERS.public.key_id, RECOVERY.public.key_id)


def test_the_recovery_key_does_not_open_what_was_not_sealed_to_it() -> None:
    with pytest.raises(CannotOpen):
        OFFLINE.open(PUBLIC.seal(Secret(CANARY), PLACE), PLACE)


def test_two_seals_of_one_value_share_no_bytes_but_the_header() -> None:
    first, second = (PUBLIC.seal(Secret(CANARY), PLACE) for _ in range(2))
    assert first[:13] == second[:13]
    assert first[13:45] != second[13:45]
    assert first[-len(CANARY) - 16 :] != second[-len(CANARY) - 16 :]
    assert CANARY not in first


@pytest.mark.parametrize(
    "other",
    [
        replace(PLACE, table="keys_keybackup"),
        replace(PLACE, column="sealed_blob"),
        replace(PLACE, row_id="b0a2"),
        # The same letters, cut elsewhere.
        Binding("cryptosources_cryptosource.sealed_secret", "", "b0a1"),
        Binding("cryptosources_cryptosource", "sealed_secretb0a1", ""),
        Binding('cryptosources_cryptosource", "sealed_secret', "", "b0a1"),
    ],
)
def test_a_value_moved_to_another_place_does_not_open(other: Binding) -> None:
    sealed = PUBLIC.seal(Secret(CANARY), PLACE)
    with pytest.raises(CannotOpen):
        PRIVATE.open(sealed, other)


def test_every_single_altered_byte_is_noticed() -> None:
    sealed = PUBLIC.seal(Secret(b"short"), PLACE, recovery=True)
    opened = []
    for at in range(len(sealed)):
        altered = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        try:
            PRIVATE.open(altered, PLACE)
        except CannotOpen:
            continue
        opened.append(at)
    assert opened == []


@pytest.mark.parametrize("keep", [0, 1, 4, 5, 12, 13, 700, 1180, 1181, 1193, -17, -1])
def test_a_value_cut_short_does_not_open(keep: int) -> None:
    with pytest.raises(CannotOpen):
        PRIVATE.open(PUBLIC.seal(Secret(CANARY), PLACE)[:keep], PLACE)


def test_a_recipient_cannot_be_taken_off_or_swapped_in() -> None:
    """The list of recipients is authenticated together with the value."""
    both = PUBLIC.seal(Secret(CANARY), PLACE, recovery=True)
    one = both[:4] + b"\x01" + both[5 : 5 + 1176] + both[5 + 2 * 1176 :]
    assert recipients(one) == (WORKERS.public.key_id,)
    with pytest.raises(CannotOpen):
        PRIVATE.open(one, PLACE)


@given(st.binary(max_size=4000))
@settings(max_examples=50, deadline=None)
def test_rubbish_is_refused_as_such(rubbish: bytes) -> None:
    for value in (rubbish, b"KMS\x01" + rubbish):
        with pytest.raises(CannotOpen):
            PRIVATE.open(value, PLACE)


def test_another_ring_does_not_open_and_says_which_key_is_needed() -> None:
    sealed = PUBLIC.seal(Secret(CANARY), PLACE)
    with pytest.raises(CannotOpen, match=WORKERS.public.key_id):
        PrivateRing((STRANGER,)).open(sealed, PLACE)


def test_an_older_key_opens_until_it_is_removed() -> None:
    sealed = PUBLIC.seal(Secret(CANARY), PLACE)
    newer = PrivateRing((STRANGER, WORKERS))
    assert newer.open(sealed, PLACE).reveal() == CANARY
    with pytest.raises(CannotOpen):
        newer.without([WORKERS.public.key_id]).open(sealed, PLACE)


def test_marks_are_the_bytes_that_name_the_recipients() -> None:
    sealed = PUBLIC.seal(Secret(CANARY), PLACE, recovery=True)
    found = marks(PUBLIC.recipients(recovery=True))
    assert len(found) == 3
    assert all(sealed[offset : offset + len(mark)] == mark for offset, mark in found.items())
    alone = PUBLIC.seal(Secret(CANARY), PLACE)
    assert not all(alone[offset : offset + len(mark)] == mark for offset, mark in found.items())


# --- Ring files -----------------------------------------------------------------------------------


def test_rings_survive_their_files() -> None:
    sealed = PUBLIC.seal(Secret(CANARY), PLACE, recovery=True)
    public = PublicRing.from_json(PUBLIC.to_json())
    private = PrivateRing.from_json(PRIVATE.with_key(STRANGER).to_json())
    assert public == PUBLIC
    assert private.key_ids == (WORKERS.public.key_id, STRANGER.public.key_id)
    assert private.open(sealed, PLACE).reveal() == CANARY
    assert PrivateRing.from_json(OFFLINE.to_json()).purpose is Purpose.RECOVERY


def test_the_public_file_holds_no_private_key() -> None:
    text = PUBLIC.to_json()
    secrets = [json.loads(ring.to_json())["keys"][0]["seed"] for ring in (PRIVATE, OFFLINE)]
    assert all(secret not in text for secret in secrets)
    with pytest.raises(BadRing, match="private"):
        PrivateRing.from_json(text)


Damage = Callable[[dict[str, object]], object]
DAMAGES: list[Damage] = [
    lambda ring: ring.update(format="other"),
    lambda ring: ring.update(version=2),
    lambda ring: ring.update(ring="public"),
    lambda ring: ring.update(purpose="play"),
    lambda ring: ring.update(keys=[]),
    lambda ring: ring.update(keys=None),
    lambda ring: ring.pop("demo"),
    lambda ring: ring["keys"][0].update(seed="can" + "ary-not-base64"),  # type: ignore[index]
    lambda ring: ring["keys"][0].update(seed="c2hvcnQ="),  # type: ignore[index]
    lambda ring: ring["keys"][0].update(id="0123456789abcdef"),  # type: ignore[index]
    lambda ring: ring["keys"][0].pop("created_at"),  # type: ignore[index]
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ring_is_refused_without_being_quoted(damage: Damage) -> None:
    ring = json.loads(PRIVATE.to_json())
    seed = ring["keys"][0]["seed"]
    damage(ring)
    with pytest.raises(BadRing) as caught:
        PrivateRing.from_json(json.dumps(ring))
    shown = repr(caught.value) + "".join(traceback.format_exception(caught.value))
    assert seed not in shown
    assert "canary" not in shown


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', '{"format": "key-manager"}'])
def test_what_is_no_ring_is_refused(text: str) -> None:
    for ring in (PublicRing, PrivateRing):
        with pytest.raises(BadRing):
            ring.from_json(text)


# --- Nothing shows a secret -------------------------------------------------------------------------


def test_no_repr_shows_a_secret() -> None:
    seed = WORKERS.seed.reveal()
    for thing in (Secret(CANARY), WORKERS, PRIVATE, PUBLIC, [Secret(CANARY)], {"key": Secret(CANARY)}):
        shown = f"{thing!r} {thing!s} {thing}"
        assert "canary" not in shown
        assert str(seed)[2:20] not in shown


def test_a_secret_is_neither_pickled_nor_compared_nor_turned_into_json() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(CANARY))
    with pytest.raises(TypeError):
        json.dumps({"value": Secret(CANARY)})
    assert Secret(CANARY) != Secret(CANARY)
    assert f"{Secret(CANARY):>40}" == repr(Secret(CANARY))
