"""System checks: no start with keys missing, exposed, or the demo's."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from secretstore import keyfiles
from secretstore.errors import SecretStoreError
from secretstore.rings import WORKER, private_ring, public_ring

_HINT = "Make them with: manage.py make_sealing_keys --out DIR (or set KEYMANAGER_DEBUG=1 while developing)."


def _production() -> bool:
    return not settings.DEBUG and not settings.DEMO


def _private_given() -> bool:
    return bool(settings.PRIVATE_KEYS or settings.PRIVATE_KEYS_FILE)


def _broken(load: Callable[[], object], check_id: str) -> list[CheckMessage]:
    try:
        load()
    except SecretStoreError as err:
        return [Error(str(err), id=check_id)]
    return []


@register()
def public_keys(**_: Any) -> list[CheckMessage]:
    """Web and workers need the public ring, in production always; where one is named it must be sound."""
    if settings.PUBLIC_KEYS_FILE:
        return _broken(public_ring, "secretstore.E002")
    if settings.ROLE == "beat" or not _production():
        return []
    return [Error("KEYMANAGER_PUBLIC_KEYS_FILE names no sealing keys.", hint=_HINT, id="secretstore.E001")]


@register()
def private_keys(**_: Any) -> list[CheckMessage]:
    """Workers need the private ring, with the active key in it."""
    if settings.ROLE != WORKER:
        return []
    if _private_given():
        return _broken(_require_active_key, "secretstore.E004")
    if not _production():
        return []
    message = "A worker needs KEYMANAGER_PRIVATE_KEYS_FILE or KEYMANAGER_PRIVATE_KEYS."
    return [Error(message, hint=_HINT, id="secretstore.E003")]


def _require_active_key() -> None:
    ring = private_ring()
    if settings.PUBLIC_KEYS_FILE and public_ring().active.key_id not in ring.key_ids:
        raise SecretStoreError("The private key ring lacks the active key of the public one.")


@register()
def private_keys_out_of_reach(**_: Any) -> list[CheckMessage]:
    """A process that talks to browsers, or only sends messages, must not be able to open secrets."""
    if settings.ROLE == WORKER:
        return []
    if settings.PRIVATE_KEYS:
        return [_reach("KEYMANAGER_PRIVATE_KEYS is set")]
    name = settings.PRIVATE_KEYS_FILE
    if name and os.access(name, os.R_OK):
        return [_reach(f"{name} can be read")]
    return []


def _reach(what: str) -> Error:
    message = f"{what} in a process with KEYMANAGER_ROLE={settings.ROLE}; private keys are for workers only."
    return Error(message, id="secretstore.E005")


@register()
def private_file_mode(**_: Any) -> list[CheckMessage]:
    """The private key file must be closed to everybody who is neither its owner nor in its group."""
    name = settings.PRIVATE_KEYS_FILE
    if not name or os.name != "posix" or not _mode(name) & (stat.S_IRWXO | stat.S_IWGRP):
        return []
    return [Error(f"{name} is open to other users: chmod 600 {name}", id="secretstore.E006")]


def _mode(name: str) -> int:
    """The file's permission bits; 0 for one that is not there or not for this process to see."""
    try:
        return Path(name).stat().st_mode
    except OSError:
        return 0


@register(deploy=True)
def recovery_key_offline(**_: Any) -> list[CheckMessage]:
    """The recovery key protects against the loss of this host only while it is somewhere else."""
    files = [Path(name) for name in (settings.PUBLIC_KEYS_FILE, settings.PRIVATE_KEYS_FILE) if name]
    found = sorted({str(file.with_name(keyfiles.RECOVERY)) for file in files if _beside(file)})
    return [
        Warning(f"{name} is still on this host: move it to a safe place offline.", id="secretstore.W001")
        for name in found
    ]


def _beside(file: Path) -> bool:
    return file.with_name(keyfiles.RECOVERY).exists()
