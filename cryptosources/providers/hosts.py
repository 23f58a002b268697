"""Which hosts an HSM's traffic and a secret may go to, and how addresses typed by people are read.

An allow-list has entries of two forms. ``.suffix[=audience]`` allows every host below the suffix, on
port 443. ``host[:port][=audience]`` allows exactly one host and port. The audience is what tokens for
the HSM are made out to; without one it is the host's parent domain, as in every Azure cloud
(``contoso.managedhsm.azure.net`` wants tokens for ``https://managedhsm.azure.net``). With an audience
an administrator vouches for the host. Loopback names work only in the second form.

Forms and workers use the same functions; every message is meant for the person who typed the address.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_HTTPS_PORT: Final = 443
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Older names of the public cloud's sign-in service; tokens come from the same place.
_TOKEN_HOST_ALIASES: Final = {
    "sts.windows.net": "login.microsoftonline.com",
    "login.windows.net": "login.microsoftonline.com",
}
_SHARED_TENANTS: Final = frozenset({"common", "organizations", "consumers"})
_TOKEN_PATHS: Final = frozenset({"", "oauth2/token", "oauth2/v2.0/token"})
# Addresses at which clouds answer for the machine itself (credentials, agents), outside link-local.
_METADATA: Final = frozenset(
    ipaddress.ip_address(address)
    for address in ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class AddressError(ValueError):
    """An address cannot be used; the text says why and what would work."""


@dataclass(frozen=True, slots=True)
class HostRule:
    """One entry of an allow-list. ``audience`` is empty where it follows from the host."""

    host: str
    port: int
    below: bool
    audience: str = ""

    def matches(self, host: str, port: int) -> bool:
        if port != self.port:
            return False
        return host.endswith(self.host) if self.below else host == self.host

    def __str__(self) -> str:
        port = "" if self.port == _HTTPS_PORT else f":{self.port}"
        return self.host + port


@dataclass(frozen=True, slots=True)
class HsmAddress:
    """Where an HSM is. ``base_url`` has no path; ``audience`` is what its tokens must be made out to.

    ``vouched`` says that an administrator listed this very host with its audience.
    """

    base_url: str
    host: str
    port: int
    audience: str
    vouched: bool


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """Where an application signs in. ``tenant`` is a GUID in lower case or a domain name."""

    host: str
    port: int
    tenant: str

    @property
    def authority(self) -> str:
        """``https://host[:port]``"""
        return _url(self.host, self.port)

    @property
    def tenant_is_domain(self) -> bool:
        """Whether the tenant's GUID must still be looked up."""
        return _GUID.fullmatch(self.tenant) is None


def parse_rule(entry: str) -> HostRule:
    """One entry of an allow-list. AddressError when it is not one."""
    where, _, audience = entry.strip().lower().partition("=")
    try:
        host, port = _host_and_port(where.removeprefix("."))
        rule = HostRule(
            ("." if where.startswith(".") else "") + host, port, where.startswith("."), _audience(audience)
        )
    except AddressError as err:
        raise AddressError(f"The allowed host “{entry}” cannot be used: {err}") from err
    if rule.below and (port != _HTTPS_PORT or is_loopback_name(host)):
        raise AddressError(
            f"The allowed host “{entry}” cannot be used: "
            "a port or a loopback name needs an entry for that one host."
        )
    return rule


def parse_hsm_address(text: str, allowed: Iterable[str]) -> HsmAddress:
    """Read a DNS name or HTTPS base URL and find it on the allow-list. AddressError."""
    host, port = _host_and_port(_without_scheme(text, "DNS name"))
    rule = _allowing_rule(host, port, allowed, "HSM hosts")
    audience = rule.audience or _parent_audience(rule, host)
    return HsmAddress(_url(host, port), host, port, audience, vouched=bool(rule.audience and not rule.below))


def parse_token_endpoint(text: str, allowed: Iterable[str]) -> TokenEndpoint:
    """Read a v1 or v2 token URL of any cloud and find its host on the allow-list. AddressError.

    A GUID tenant comes in lower case, because the SDK compares it with the HSM's challenge letter by
    letter; the older host names of the public cloud come as today's.
    """
    rest = _without_scheme(text, "token endpoint", scheme_required=True, path_allowed=True)
    where, _, path = rest.partition("/")
    host, port = _host_and_port(where)
    host = _TOKEN_HOST_ALIASES.get(host, host)
    _allowing_rule(host, port, allowed, "sign-in hosts")
    tenant, _, tail = path.partition("/")
    if tail.rstrip("/").lower() not in _TOKEN_PATHS:
        raise AddressError(
            "The token endpoint must end in /oauth2/token or /oauth2/v2.0/token after the tenant."
        )
    return TokenEndpoint(host, port, _tenant(tenant.lower()))


def is_loopback_name(host: str) -> bool:
    """``localhost`` and every name below it (RFC 6761, 6.3)."""
    return host == "localhost" or host.endswith(".localhost")


def why_peer_refused(address: str, *, loopback_allowed: bool) -> str:
    """Why a connection to this IP address must not be used, in words; empty when it may.

    Private addresses are fine: Private Link is the usual way to a production HSM.
    """
    peer = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
    if peer.is_loopback:
        return "" if loopback_allowed else "a loopback address (this machine itself)"
    if peer.is_link_local:
        return "a link-local address (where clouds keep machine credentials)"
    if peer in _METADATA:
        return "a cloud's metadata address"
    if peer.is_unspecified or peer.is_multicast or peer == ipaddress.ip_address("255.255.255.255"):
        return "not an address of one machine"
    return ""


def _unwrapped(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address inside an IPv6 one (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _without_scheme(
    text: str, what: str, *, scheme_required: bool = False, path_allowed: bool = False
) -> str:
    """What follows ``https://``, with the parts refused that no address of ours has."""
    value = text.strip()
    if not value:
        raise AddressError(f"The {what} is missing.")
    if not value.isascii() or not value.isprintable() or " " in value or "\\" in value:
        raise AddressError(f"The {what} has a character that does not belong in an address.")
    scheme, separator, rest = value.partition("://")
    if separator and scheme.lower() != "https":
        raise AddressError(f"The {what} must start with https://.")
    if not separator:
        if scheme_required:
            raise AddressError(f"The {what} must be a whole URL that starts with https://.")
        rest = value
    for sign, part in (("@", "a user name"), ("?", "a query"), ("#", "a fragment")):
        if sign in rest:
            raise AddressError(f"The {what} must not have {part} (“{sign}”).")
    if not path_allowed and "/" in rest.removesuffix("/"):
        raise AddressError(f"The {what} must not have a path; give the host only.")
    return rest if path_allowed else rest.removesuffix("/")


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.lower().partition(":")
    if text.startswith("[") or ":" in port:
        raise AddressError("An IP address cannot be used; give the host's DNS name.")
    _require_dns_name(host)
    if not colon:
        return host, _HTTPS_PORT
    if not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > 65535:
        raise AddressError(f"“{port}” is not a port.")
    return host, int(port)


def _require_dns_name(host: str) -> None:
    labels = host.split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        raise AddressError("An IP address cannot be used; give the host's DNS name.")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressError(f"“{host}” is not a DNS name.")


def _allowing_rule(host: str, port: int, allowed: Iterable[str], what: str) -> HostRule:
    rules = [parse_rule(entry) for entry in allowed]
    # One listed host says more than a suffix that covers it too.
    for rule in sorted(rules, key=lambda each: each.below):
        if rule.matches(host, port):
            return rule
    shown = _url(host, port).removeprefix("https://")
    if is_loopback_name(host):
        raise AddressError(f"{shown} is this machine itself; it works only when it is listed by that name.")
    known = ", ".join(f"*{rule}" if rule.below else str(rule) for rule in rules) or "none"
    raise AddressError(
        f"{shown} is not among the {what} allowed here ({known}). "
        "Check the spelling, or ask an administrator to allow it."
    )


def _audience(text: str) -> str:
    if not text:
        return ""
    host, port = _host_and_port(_without_scheme(text, "audience", scheme_required=True))
    return _url(host, port)


def _parent_audience(rule: HostRule, host: str) -> str:
    parent = rule.host[1:] if rule.below else host.partition(".")[2]
    if not parent or is_loopback_name(parent):
        raise AddressError(
            f"{host} is allowed without a token audience; its entry must be “{rule}=https://audience”."
        )
    return _url(parent, rule.port)


def _tenant(tenant: str) -> str:
    if not tenant:
        raise AddressError("The token endpoint names no tenant; copy it from the app registration.")
    if tenant in _SHARED_TENANTS:
        raise AddressError(
            f"“{tenant}” stands for any tenant; an application needs the token endpoint of its own tenant."
        )
    if _GUID.fullmatch(tenant):
        return tenant
    if "." not in tenant:
        raise AddressError(f"“{tenant}” is neither a tenant's GUID nor its domain name.")
    _require_dns_name(tenant)
    return tenant


def _url(host: str, port: int) -> str:
    return f"https://{host}" + ("" if port == _HTTPS_PORT else f":{port}")
