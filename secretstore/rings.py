"""This process's key rings, from the settings.

A ring file is read again when it changes, so that a worker knows a new key as soon as its file is
replaced. A ring given in the environment lasts as long as the process.
"""

from functools import lru_cache
from pathlib import Path

from django.conf import settings

from secretstore.core import PrivateRing, PublicRing, Purpose
from secretstore.errors import BadRing, KeysMissing, SealedForWorkers

WORKER = "worker"


def public_ring() -> PublicRing:
    """KeysMissing when none is set; BadRing when it cannot be used here."""
    if not settings.PUBLIC_KEYS_FILE:
        raise KeysMissing("No sealing keys: set KEYMANAGER_PUBLIC_KEYS_FILE to the public key ring.")
    ring = _public(*_file_state(settings.PUBLIC_KEYS_FILE))
    _refuse_demo(demo=ring.demo)
    return ring


def private_ring() -> PrivateRing:
    """SealedForWorkers outside a worker; KeysMissing when none is set; BadRing when unusable here."""
    if settings.ROLE != WORKER:
        raise SealedForWorkers("Only workers open sealed values (KEYMANAGER_ROLE=worker).")
    ring = _given_private_ring()
    if ring.purpose is not Purpose.WORKERS:
        raise BadRing("The workers' private key ring is needed, and this is the recovery key.")
    _refuse_demo(demo=ring.demo)
    return ring


def _given_private_ring() -> PrivateRing:
    if settings.PRIVATE_KEYS:
        return _private_text(settings.PRIVATE_KEYS)
    if not settings.PRIVATE_KEYS_FILE:
        raise KeysMissing(
            "No private keys: set KEYMANAGER_PRIVATE_KEYS_FILE or KEYMANAGER_PRIVATE_KEYS for workers."
        )
    return _private(*_file_state(settings.PRIVATE_KEYS_FILE))


def _refuse_demo(*, demo: bool) -> None:
    if demo and not settings.DEMO:
        raise BadRing("These are the demo's keys; make your own with: manage.py make_sealing_keys")


def _file_state(name: str) -> tuple[str, int, int]:
    """The file with what tells one content from the next: a replaced file has another inode or time."""
    try:
        state = Path(name).stat()
    except OSError as err:
        raise BadRing(f"The key ring {name} cannot be read: {err.strerror}.") from err
    return name, state.st_mtime_ns, state.st_ino


@lru_cache(maxsize=4)
def _public(name: str, _modified: int, _inode: int) -> PublicRing:
    return PublicRing.from_json(_read(name))


@lru_cache(maxsize=4)
def _private(name: str, _modified: int, _inode: int) -> PrivateRing:
    return PrivateRing.from_json(_read(name))


@lru_cache(maxsize=4)
def _private_text(text: str) -> PrivateRing:
    return PrivateRing.from_json(text)


def _read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise BadRing(f"The key ring {name} cannot be read.") from err
