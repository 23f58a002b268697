"""The way of a request while there is trouble, or a pace to keep: what delays it, refuses it, loses it."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from email.utils import format_datetime

from multidict import CIMultiDict

from sandbox import backup, clock, data_plane, errors, routes, trouble_errors
from sandbox.data_plane import Reply
from sandbox.errors import HsmError
from sandbox.hsm import HsmSettings
from sandbox.roles import data_action
from sandbox.service import Asked, Service, Unauthorized, parse_body
from sandbox.tokens import Principal
from sandbox.trouble import Loaded, Seen, TokenEnd
from sandbox.trouble_journal import CHANGING, Change, LaggingKeys
from sandbox.trouble_rules import AFTER, CHALLENGE

Headers = CIMultiDict[str]
Json = dict[str, object]
Refuse = Callable[[Loaded], Exception | None]
_CLAIMS = b64encode(b'{"access_token":{"nbf":{"essential":true}}}').decode()


class Lost(Exception):
    """No answer leaves: the connection is ``reset``, or nothing happens on it any more (``hang``)."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class TokenRefused(Unauthorized):
    """A good token that counts no more; ``claims`` are what its successor must show, base64 of JSON."""

    def __init__(self, end: TokenEnd) -> None:
        super().__init__()
        self.claims = end.claims


class Strikes:
    """The rules that strike one request, applied in their order: once before and once after its effect."""

    def __init__(self, struck: list[Loaded], headers: Headers) -> None:
        self._struck = struck
        self._headers = headers

    async def before(self, refuse: Refuse) -> None:
        """Delay, then the first rule that ends the request. ``refuse`` knows the service's own refusals."""
        for loaded in self._struck:
            if loaded.rule.effect == "latency":
                await asyncio.sleep(loaded.draw_seconds())
        self._end([item for item in self._struck if item.rule.moment != AFTER], refuse)

    def after(self, refuse: Refuse) -> None:
        self._end([item for item in self._struck if item.rule.moment == AFTER], refuse)

    def first(self, effect: str) -> Loaded | None:
        return next((item for item in self._struck if item.rule.effect == effect), None)

    def _end(self, struck: list[Loaded], refuse: Refuse) -> None:
        for loaded in struck:
            if loaded.rule.effect in {"reset", "hang"}:
                raise Lost(loaded.rule.effect)
            refusal = refuse(loaded)
            if refusal is not None:
                if loaded.rule.retry_after is not None:
                    self._headers["Retry-After"] = str(loaded.rule.retry_after)
                raise refusal


async def operate(service: Service, asked: Asked, authorization: str, headers: Headers) -> Reply:
    """Carry out a request to an HSM. Raises what ``Service`` raises, and Lost."""
    settings = service.hsm_for(asked.host)
    with _wrong_clock(service, service.trouble.skew("hsm", settings.name), headers):
        try:
            principal = _authenticate(service, asked.host, authorization)
        except Unauthorized:
            await _challenge(service, settings, headers)
            raise
        return await _operate(service, asked, principal, authorization, headers)


def _authenticate(service: Service, host: str, authorization: str) -> Principal:
    """Who is asking. Raises Unauthorized, also for a token that trouble has ended."""
    principal = service.authenticate(authorization, host)
    end = service.trouble.token_end(_token(authorization))
    if end is not None:
        raise TokenRefused(end)
    return principal


def _token(authorization: str) -> str:
    return authorization.partition(" ")[2].strip()


async def _operate(
    service: Service, asked: Asked, principal: Principal, authorization: str, headers: Headers
) -> Reply:
    settings = service.hsm_for(asked.host)
    seen = look(asked, principal, settings)
    asked.op = seen.op
    _keep_pace(service, seen)
    strikes = Strikes(service.trouble.strike(seen), headers)

    def refuse(loaded: Loaded) -> Exception | None:
        return _hsm_refusal(service, loaded, asked, seen.key, authorization)

    await strikes.before(refuse)
    service.refresh()
    service.refresh_rights(settings.name)
    reply = await _take_effect(service, asked, principal, seen, strikes)
    strikes.after(refuse)
    return reply


async def _take_effect(
    service: Service, asked: Asked, principal: Principal, seen: Seen, strikes: Strikes
) -> Reply:
    """Carry it out, on the keys as a lagging region sees them where a rule says so; note what changed."""
    genuine, journal, now = service.estate.keys, service.trouble.journal, service.trouble.now()
    lag = strikes.first("lag")
    keys = genuine
    if lag is not None:
        keys = LaggingKeys(service.estate.database, genuine, journal, now - lag.rule.seconds[1])
    before = genuine.get(seen.hsm, seen.key) if seen.key else None
    reply = await service.operate(asked, principal, keys)
    if seen.op in CHANGING and seen.key and journal.reach:
        journal.note(Change(service.trouble.now(), seen.op, seen.hsm, seen.key, before))
    return reply


async def _challenge(service: Service, settings: HsmSettings, headers: Headers) -> None:
    """Trouble with a request that has no good token. Returns where it is to be challenged as usual."""
    strikes = Strikes(service.trouble.strike(Seen(CHALLENGE, hsm=settings.name)), headers)
    await strikes.before(_any_refusal)
    strikes.after(_any_refusal)


def look(asked: Asked, principal: Principal, settings: HsmSettings) -> Seen:
    """What rules go by. Raises HsmError for a path that means nothing."""
    route = routes.parse(asked.method, asked.path)
    key = route.name if route.op in data_plane.OPERATIONS else ""
    if route.op == "restore":
        key = _name_inside(asked, settings)
    return Seen(route.op, key, settings.name, principal.application_id)


def _name_inside(asked: Asked, settings: HsmSettings) -> str:
    """The name of the key in a backup blob; empty where the HSM cannot read it."""
    try:
        return backup.unseal(parse_body(asked.content).get("value"), settings.domain_key)[0]
    except HsmError:
        return ""


def _keep_pace(service: Service, seen: Seen) -> None:
    if service.pace is None:
        return
    key = service.estate.keys.get(seen.hsm, seen.key) if seen.key else None
    service.pace.require(seen.hsm, seen.op, key.latest if key else None)


def _hsm_refusal(
    service: Service, loaded: Loaded, asked: Asked, key: str, authorization: str
) -> Exception | None:
    rule = loaded.rule
    if rule.effect == "deny":
        route = routes.parse(asked.method, asked.path)
        return errors.access_denied(data_action(route.action), route.scope)
    if rule.effect == "revoke-token":
        return TokenRefused(service.trouble.end_token(_token(authorization), 0, _CLAIMS * rule.claims))
    if rule.effect == "purge-window":
        return trouble_errors.name_is_being_purged(key)
    return _any_refusal(loaded)


def _any_refusal(loaded: Loaded) -> Exception | None:
    """429 and 5xx, as an HSM puts them."""
    if loaded.rule.effect == "throttle":
        return trouble_errors.throttled()
    if loaded.rule.effect == "error":
        return trouble_errors.out_of_order(loaded.rule.status)
    return None


async def ask_entra(
    service: Service, op: str, application: str, headers: Headers, ask: Callable[[], Awaitable[Json]]
) -> Json:
    """Answer a request to the directory. Raises EntraError, EntraThrottled and Lost."""
    strikes = Strikes(service.trouble.strike(Seen(op, application=application.lower())), headers)
    await strikes.before(_entra_refusal)
    with _wrong_clock(service, service.trouble.skew("entra"), headers):
        answer = await ask()
    short = strikes.first("short-token")
    if short is not None:
        service.trouble.end_token(str(answer["access_token"]), short.rule.seconds[1])
    strikes.after(_entra_refusal)
    return answer


async def ask_graph(
    service: Service, op: str, application: str, headers: Headers, ask: Callable[[], Json | None]
) -> Json | None:
    """Answer a request to Graph. Raises GraphError and Lost."""
    strikes = Strikes(service.trouble.strike(Seen(f"graph {op}", application=application)), headers)
    await strikes.before(_graph_refusal)
    answer = ask()
    service.effects[f"graph {op}"] += 1
    strikes.after(_graph_refusal)
    return answer


def _graph_refusal(loaded: Loaded) -> Exception | None:
    if loaded.rule.effect == "throttle":
        return trouble_errors.graph_throttled()
    if loaded.rule.effect == "error":
        return trouble_errors.graph_out_of_order(loaded.rule.status)
    return None


def _entra_refusal(loaded: Loaded) -> Exception | None:
    if loaded.rule.effect == "throttle":
        return trouble_errors.EntraThrottled()
    if loaded.rule.effect == "error":
        return trouble_errors.entra_out_of_order(loaded.rule.status)
    return None


@contextmanager
def _wrong_clock(service: Service, seconds: float, headers: Headers) -> Iterator[None]:
    """Inside, this request's clock is wrong, and so is the time that its answer shows."""
    if not seconds:
        yield
        return
    with clock.skewed(seconds):
        headers["Date"] = format_datetime(service.clock.now(), usegmt=True)
        yield
