"""Making key rings and keeping them in a folder. Pure Python.

``public.json`` for every process, ``private.json`` for workers, ``recovery-private.json`` for people to
keep offline. A new key reaches ``private.json`` before ``public.json`` names it, so nothing is ever
sealed to a key that the folder cannot open, wherever a crash falls.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from secretstore.core import PrivateKey, PrivateRing, PublicRing, Purpose
from secretstore.errors import BadRing

PUBLIC: Final = "public.json"
PRIVATE: Final = "private.json"
RECOVERY: Final = "recovery-private.json"


def create(folder: Path, *, demo: bool, now: datetime) -> PublicRing:
    """Make the three files; BadRing when one is there already."""
    for name in (PUBLIC, PRIVATE, RECOVERY):
        if (folder / name).exists():
            raise BadRing(f"{folder / name} is there already; nothing was written.")
    folder.mkdir(parents=True, exist_ok=True)
    active, recovery = PrivateKey.generate(now=now), PrivateKey.generate(now=now)
    ring = PublicRing(active.public, recovery.public, demo)
    _write(folder / RECOVERY, PrivateRing((recovery,), Purpose.RECOVERY, demo).to_json(), mode=0o600)
    _write(folder / PRIVATE, PrivateRing((active,), Purpose.WORKERS, demo).to_json(), mode=0o600)
    _write(folder / PUBLIC, ring.to_json(), mode=0o644)
    return ring


def add_key(folder: Path, *, now: datetime) -> PublicRing:
    """Make a new key the active one; the older keys stay in the private ring. BadRing."""
    public, private = read_public(folder), read_private(folder)
    key = PrivateKey.generate(now=now)
    ring = replace(public, active=key.public)
    _write(folder / PRIVATE, private.with_key(key).to_json(), mode=0o600)
    _write(folder / PUBLIC, ring.to_json(), mode=0o644)
    return ring


def remove_old_keys(folder: Path) -> Sequence[str]:
    """Drop every key but the active one from the private ring; their ids. BadRing."""
    active, private = read_public(folder).active.key_id, read_private(folder)
    old = [key_id for key_id in private.key_ids if key_id != active]
    if active not in private.key_ids:
        raise BadRing("The private ring lacks the active key; nothing was removed.")
    _write(folder / PRIVATE, private.without(old).to_json(), mode=0o600)
    return old


def read_public(folder: Path) -> PublicRing:
    return PublicRing.from_json(_read(folder / PUBLIC))


def read_private(folder: Path) -> PrivateRing:
    return PrivateRing.from_json(_read(folder / PRIVATE))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise BadRing(f"The key ring {path} cannot be read.") from err


def _write(path: Path, text: str, *, mode: int) -> None:
    """Replace the file in one step; nobody without the right sees it, not even for a moment."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
