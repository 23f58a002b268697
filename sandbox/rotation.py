"""Rotation policies: what a client may ask for, and when a version made under one ends.

Rules from the vendor's *Configure key autorotation in Managed HSM*: 28 days are the least time between two
versions and the least life of one, and nothing is notified. The sandbox keeps policies and lets them end new
versions, but rotates nothing by itself.
"""

import calendar
import json
import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox import errors

Json = dict[str, object]
_DURATION = re.compile(r"P(?=\d)(?:(\d{1,3})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,5})D)?")
_LEAST_DAYS = 28
_TRIGGERS = ("timeAfterCreate", "timeBeforeExpiry")


@dataclass(frozen=True)
class Policy:
    """``expiry_time`` and ``moment`` are ISO 8601 durations; ``trigger`` says from where ``moment`` counts.

    Without a trigger the key is rotated on demand only. ``created`` and ``updated`` in seconds since 1970.
    """

    created: int = 0
    updated: int = 0
    expiry_time: str = ""
    trigger: str = ""
    moment: str = ""

    @property
    def is_blank(self) -> bool:
        return not self.expiry_time and not self.trigger


def encode(policy: Policy) -> str:
    return json.dumps(asdict(policy))


def decode(text: str) -> Policy:
    return Policy(**json.loads(text))


def parse(body: dict[str, Any], current: Policy | None, now: int) -> Policy:
    """The policy that a client sends; a blank one removes it. Raises HsmError for what the rules forbid."""
    attributes, actions = body.get("attributes") or {}, body.get("lifetimeActions") or []
    if not isinstance(attributes, dict) or not isinstance(actions, list):
        raise errors.bad_rotation_policy("invalid value")
    if len(actions) > 1:
        raise errors.bad_rotation_policy("more than one action of type Rotate")
    expiry = _duration(attributes.get("expiryTime"), "expiryTime")
    if expiry and _days(expiry) < _LEAST_DAYS:
        raise errors.bad_rotation_policy(f"expiryTime must be at least {_LEAST_DAYS} days")
    policy = Policy(current.created if current else now, now, expiry)
    return _with_action(policy, actions[0]) if actions else policy


def _with_action(policy: Policy, action: Any) -> Policy:
    try:
        kind, given = action["action"]["type"], action["trigger"]
        asked = {name: given[name] for name in _TRIGGERS if given.get(name) is not None}
    except (KeyError, TypeError, AttributeError) as err:
        raise errors.bad_rotation_policy("a lifetime action needs an action and a trigger") from err
    if str(kind).lower() != "rotate":
        raise errors.bad_rotation_policy(f"action type {kind} is not supported")
    if len(asked) != 1:
        raise errors.bad_rotation_policy("a trigger is either timeAfterCreate or timeBeforeExpiry")
    name, moment = next(iter(asked.items()))
    changed = replace(policy, trigger=name, moment=_duration(moment, name))
    _check_frequency(changed)
    return changed


def _check_frequency(policy: Policy) -> None:
    """Raises HsmError where the trigger would make versions more often than every 28 days."""
    period = _days(policy.moment)
    if policy.trigger == "timeBeforeExpiry":
        if not policy.expiry_time:
            raise errors.bad_rotation_policy("timeBeforeExpiry needs an expiryTime")
        period = _days(policy.expiry_time) - period
    if period < _LEAST_DAYS:
        raise errors.bad_rotation_policy(f"{policy.trigger} must leave at least {_LEAST_DAYS} days")


def show(policy: Policy | None, url: str) -> Json:
    """The policy's JSON. For a key that has none: empty and without an identifier, as recorded."""
    if policy is None:
        return {"attributes": {"created": 0, "expiryTime": "", "updated": 0}, "id": ""}
    attributes = {"created": policy.created, "expiryTime": policy.expiry_time, "updated": policy.updated}
    action: Json = {"action": {"type": "Rotate"}, "trigger": {policy.trigger: policy.moment}}
    return {"attributes": attributes, "id": url, "lifetimeActions": [action] if policy.trigger else []}


def end_of_new_version(policy: Policy, now: int) -> int | None:
    """When a version made ``now`` expires, in seconds since 1970; None where the policy does not say."""
    if not policy.expiry_time:
        return None
    years, months, days = _parts(policy.expiry_time)
    start = datetime.fromtimestamp(now, UTC)
    year, month = divmod(start.year * 12 + start.month - 1 + years * 12 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    moved = start.replace(year=year, month=month + 1, day=min(start.day, last))
    return int((moved + timedelta(days=days)).timestamp())


def _duration(value: object, name: str) -> str:
    """An ISO 8601 duration in years, months, weeks and days; empty where none is given."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise errors.bad_rotation_policy(f"{name} is not an ISO 8601 duration in years, months and days")
    return value


def _parts(duration: str) -> tuple[int, int, int]:
    """Years, months and days of a duration; weeks count as days."""
    found = _DURATION.fullmatch(duration)
    years, months, weeks, days = (int(part or 0) for part in found.groups()) if found else (0, 0, 0, 0)
    return years, months, weeks * 7 + days


def _days(duration: str) -> int:
    """About how many days: a year as 365, a month as 30."""
    years, months, days = _parts(duration)
    return years * 365 + months * 30 + days
