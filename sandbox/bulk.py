"""Many keys at once, past every pace: for tests of big estates.

RSA keys take a second each to make. Unless told otherwise, keys of a bulk share the key material of a small
pool, so **many of them are the same key under different names**; EC and AES keys are made one by one.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sandbox import attributes, errors, material
from sandbox.algorithms import RSA
from sandbox.hsm import MAX_KEYS, ManagedHsm, check_name, new_version
from sandbox.keystore import Attributes

DEFAULT_POOL = 4
_CHUNK = 25
_NUMBER = re.compile(r"\{n(?::(\d))?\}")


class BulkError(ValueError):
    """The order makes no sense, or the HSM has no room; nothing was made."""


@dataclass(frozen=True)
class Order:
    """``pool`` RSA keys serve all names; 0 gives each a key of its own."""

    names: list[str]
    spec: material.KeySpec
    attributes: Attributes
    pool: int


def parse(body: dict[str, Any], now: int) -> Order:
    """``count``, ``name`` with ``{n}`` or ``{n:5}`` in it, ``start``, ``pool``; ``key`` is a create's body.

    Raises BulkError, and HsmError for a ``key`` that the HSM would not make.
    """
    count, start = _whole(body, "count", 1), _whole(body, "start", 1)
    if count > MAX_KEYS:
        raise BulkError(f"count must be up to {MAX_KEYS}, not {count}")
    pattern, key = body.get("name"), body.get("key", {"kty": RSA})
    if not isinstance(pattern, str) or len(_NUMBER.findall(pattern)) != 1:
        raise BulkError("name must have {n}, or {n:5} for five digits, in one place")
    if not isinstance(key, dict):
        raise BulkError("key must be an object, as in the body of a create")
    spec = material.parse_spec(key)
    pool = _whole(body, "pool", 0, DEFAULT_POOL)
    names = [_name(pattern, number) for number in range(start, start + count)]
    return Order(names, spec, attributes.parse_new(key, spec.kty, now), pool)


async def make(hsm: ManagedHsm, order: Order) -> dict[str, object]:
    """Make the keys, letting other requests through between chunks.

    Raises BulkError where the HSM has no room for all or a name is taken. HsmError 409 where somebody takes
    a name meanwhile: the keys before it are there.
    """
    _check_room(hsm, order)
    began = time.monotonic()
    position = 0
    async for public, private in _materials(order):
        version = new_version(order.spec.kty, public, private, order.attributes)
        name = order.names[position]
        if hsm.keys.get(hsm.settings.name, name) is not None:
            raise errors.name_is_live(name)
        hsm.keys.add_key(hsm.settings.name, name, (version,))
        position += 1
        if position % _CHUNK == 0:
            await asyncio.sleep(0)
    return {
        "made": position,
        "first": order.names[0],
        "last": order.names[-1],
        "seconds": round(time.monotonic() - began, 3),
    }


async def _materials(order: Order) -> AsyncIterator[tuple[dict[str, str], bytes]]:
    """Key material for each name; made in a thread where it takes long."""
    pool: list[tuple[dict[str, str], bytes]] = []
    for position in range(len(order.names)):
        if order.spec.kty != RSA:
            yield material.generate(order.spec)
        elif order.pool and len(pool) >= order.pool:
            yield pool[position % order.pool]
        else:
            pool.append(await asyncio.to_thread(material.generate, order.spec))
            yield pool[-1]


def _check_room(hsm: ManagedHsm, order: Order) -> None:
    room = MAX_KEYS - hsm.keys.count(hsm.settings.name)
    if len(order.names) > room:
        raise BulkError(f"There is room for {room} more keys, not for {len(order.names)}")
    for name in order.names:
        if hsm.keys.get(hsm.settings.name, name) is not None:
            raise BulkError(f"The name {name} is taken")


def _name(pattern: str, number: int) -> str:
    name = _NUMBER.sub(lambda found: str(number).zfill(int(found[1] or 1)), pattern)
    check_name(name)
    return name


def _whole(body: dict[str, Any], name: str, lowest: int, default: int = 1) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise BulkError(f"{name} must be a whole number from {lowest}, not {value!r}")
    return value
