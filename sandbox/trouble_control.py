"""The part of the control API that makes trouble, sets the pace and makes keys in bulk."""

from typing import Any

from sandbox import bulk, trouble_parsing
from sandbox.hsm import ManagedHsm
from sandbox.pace import PACES
from sandbox.service import Service
from sandbox.trouble_parsing import TroubleError

SUBJECTS = frozenset(("trouble", "pace", "bulk"))
Json = dict[str, object]


async def act(service: Service, method: str, parts: list[str], host: str, body: dict[str, Any]) -> Json:
    """Answer a request under one of SUBJECTS. Raises LookupError, ValueError and HsmError."""
    match method, parts:
        case "GET", ["trouble"]:
            return _listing(service)
        case "POST", ["trouble"]:
            service.trouble.load(trouble_parsing.parse(body, service.hsms, service.trouble.ids))
            return _listing(service)
        case "DELETE", ["trouble", *rest]:
            return _remove(service, rest)
        case "GET", ["pace"]:
            return {"pace": service.pace_name}
        case "POST", ["pace"]:
            return _set_pace(service, body.get("pace"))
        case "POST", ["bulk"]:
            return await _make_keys(service, host, body)
    raise LookupError("/".join(parts))


def _listing(service: Service) -> Json:
    return {"rules": service.trouble.listing()}


def _remove(service: Service, rest: list[str]) -> Json:
    """One rule by its id, or all; roles that were lost are back."""
    if rest:
        service.trouble.remove("/".join(rest))
    else:
        service.trouble.clear()
    service.access.forget()
    return _listing(service)


def _set_pace(service: Service, pace: object) -> Json:
    if pace not in PACES:
        raise TroubleError(f"pace must be one of {', '.join(PACES)}, not {pace!r}")
    service.set_pace(str(pace))
    return {"pace": service.pace_name}


async def _make_keys(service: Service, host: str, body: dict[str, Any]) -> Json:
    """Keys on the HSM named, or on the first one."""
    name = body.get("hsm") or next(iter(service.hsms))
    if name not in service.hsms:
        raise LookupError(name)
    hsm = ManagedHsm(f"https://{host}", service.hsms[name], service.estate.keys, service.clock)
    return await bulk.make(hsm, bulk.parse(body, service.clock.timestamp()))
