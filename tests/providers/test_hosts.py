"""Addresses typed by people: what is accepted, as what, and what is refused with which words."""

import pytest

from cryptosources.providers.hosts import (
    AddressError,
    HsmAddress,
    TokenEndpoint,
    parse_hsm_address,
    parse_rule,
    parse_token_endpoint,
    why_peer_refused,
)

CLOUDS = (".managedhsm.azure.net", ".managedhsm.usgovcloudapi.net", ".managedhsm.azure.cn")
LISTED = (*CLOUDS, "localhost:8443=https://localhost:8443", "hsm.example.org=https://tokens.example.org")
SIGN_IN = ("login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn")
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"


@pytest.mark.parametrize(
    ("text", "base_url", "audience"),
    [
        ("contoso.managedhsm.azure.net", "https://contoso.managedhsm.azure.net", "managedhsm.azure.net"),
        ("https://contoso.managedhsm.azure.net", None, "managedhsm.azure.net"),
        (" https://Contoso.ManagedHSM.azure.net/ ", None, "managedhsm.azure.net"),
        ("HTTPS://contoso.managedhsm.azure.net:443/", None, "managedhsm.azure.net"),
        ("contoso.managedhsm.azure.cn", "https://contoso.managedhsm.azure.cn", "managedhsm.azure.cn"),
        (
            "contoso.managedhsm.usgovcloudapi.net",
            "https://contoso.managedhsm.usgovcloudapi.net",
            "managedhsm.usgovcloudapi.net",
        ),
        ("localhost:8443", "https://localhost:8443", "localhost:8443"),
        ("hsm.example.org", "https://hsm.example.org", "tokens.example.org"),
    ],
)
def test_good_hsm_addresses(text: str, base_url: str | None, audience: str) -> None:
    found = parse_hsm_address(text, LISTED)
    assert found.base_url == (base_url or "https://contoso.managedhsm.azure.net")
    assert found.audience == f"https://{audience}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "missing"),
        ("http://contoso.managedhsm.azure.net", "must start with https"),
        ("ftp://contoso.managedhsm.azure.net", "must start with https"),
        ("https://me@contoso.managedhsm.azure.net", "user name"),
        ("https://contoso.managedhsm.azure.net@evil.example", "user name"),
        ("https://contoso.managedhsm.azure.net/keys", "path"),
        ("https://contoso.managedhsm.azure.net//", "path"),
        ("https://contoso.managedhsm.azure.net?x=1", "query"),
        ("https://contoso.managedhsm.azure.net#x", "fragment"),
        ("10.0.0.1", "IP address"),
        ("https://[::1]", "IP address"),
        ("::1", "IP address"),
        ("0x7f.1", "IP address"),
        ("2130706433", "IP address"),
        ("127.0.0.0x1", "IP address"),
        ("contoso.managedhsm.azure.net:8443", "not among the HSM hosts"),
        ("contoso.managedhsm.azure.net.evil.example", "not among the HSM hosts"),
        ("managedhsm.azure.net", "not among the HSM hosts"),
        ("evilmanagedhsm.azure.net", "not among the HSM hosts"),
        ("other.example.org", "not among the HSM hosts"),
        ("localhost", "this machine itself"),
        ("hsm.localhost:8443", "this machine itself"),
        ("contoso.managedhsm.azure.net.", "not a DNS name"),
        ("-x.managedhsm.azure.net", "not a DNS name"),
        ("a_b.managedhsm.azure.net", "not a DNS name"),
        (".managedhsm.azure.net", "not a DNS name"),
        ("contoso.managedhsm.azure.net:0", "not a port"),
        ("contoso.managedhsm.azure.net:99999", "not a port"),
        ("contoso.managedhsm.azure.net:", "not a port"),
        ("https:\\\\contoso.managedhsm.azure.net", "character"),
        ("contoso.managedhsm.azure.net\nx", "character"),
        ("contosö.managedhsm.azure.net", "character"),
    ],
)
def test_bad_hsm_addresses(text: str, words: str) -> None:
    with pytest.raises(AddressError, match=words):
        parse_hsm_address(text, LISTED)


def test_only_a_host_listed_with_its_audience_is_vouched_for() -> None:
    assert parse_hsm_address("localhost:8443", LISTED).vouched
    assert not parse_hsm_address("contoso.managedhsm.azure.net", LISTED).vouched
    assert not parse_hsm_address("a.hsm.example", ("a.hsm.example",)).vouched


def test_one_listed_host_goes_before_a_suffix() -> None:
    allowed = (".managedhsm.azure.net", "contoso.managedhsm.azure.net=https://special.example")
    assert parse_hsm_address("contoso.managedhsm.azure.net", allowed).audience == "https://special.example"


def test_a_listed_host_without_audience_takes_its_parent_domain() -> None:
    assert parse_hsm_address("hsm.corp.example:8443", ("hsm.corp.example:8443",)) == HsmAddress(
        "https://hsm.corp.example:8443", "hsm.corp.example", 8443, "https://corp.example:8443", vouched=False
    )


def test_an_operator_may_set_a_clouds_audience() -> None:
    allowed = (".managedhsm.chinacloudapi.cn=https://managedhsm.azure.cn",)
    assert parse_hsm_address("x.managedhsm.chinacloudapi.cn", allowed).audience == (
        "https://managedhsm.azure.cn"
    )


@pytest.mark.parametrize(
    "entry",
    [
        "",
        ".",
        ".localhost",
        ".example.org:8443",
        "10.0.0.1",
        "a b",
        "host.example=http://x.example",
        "*.x.example",
    ],
)
def test_bad_entries_of_an_allow_list(entry: str) -> None:
    with pytest.raises(AddressError, match="cannot be used"):
        parse_rule(entry)


def test_a_loopback_host_needs_its_audience() -> None:
    with pytest.raises(AddressError, match="without a token audience"):
        parse_hsm_address("localhost:8443", ("localhost:8443",))


@pytest.mark.parametrize(
    ("text", "host", "tenant"),
    [
        (f"https://login.microsoftonline.com/{TENANT}/oauth2/token", "login.microsoftonline.com", TENANT),
        (
            f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token",
            "login.microsoftonline.com",
            TENANT,
        ),
        (
            f"https://login.microsoftonline.com/{TENANT.upper()}/oauth2/token",
            "login.microsoftonline.com",
            TENANT,
        ),
        (f"https://login.microsoftonline.us/{TENANT}/oauth2/v2.0/token/", "login.microsoftonline.us", TENANT),
        (f"https://login.chinacloudapi.cn/{TENANT}/oauth2/token", "login.chinacloudapi.cn", TENANT),
        (f"https://sts.windows.net/{TENANT}/", "login.microsoftonline.com", TENANT),
        (f"https://login.windows.net/{TENANT}/oauth2/token", "login.microsoftonline.com", TENANT),
        (
            " https://LOGIN.microsoftonline.com/Contoso.onmicrosoft.com/oauth2/token ",
            "login.microsoftonline.com",
            "contoso.onmicrosoft.com",
        ),
    ],
)
def test_good_token_endpoints(text: str, host: str, tenant: str) -> None:
    found = parse_token_endpoint(text, SIGN_IN)
    assert found == TokenEndpoint(host, 443, tenant)
    assert found.tenant_is_domain is (tenant != TENANT)
    assert found.authority == f"https://{host}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "missing"),
        (f"login.microsoftonline.com/{TENANT}/oauth2/token", "whole URL"),
        (f"http://login.microsoftonline.com/{TENANT}/oauth2/token", "must start with https"),
        (f"https://login.example.org/{TENANT}/oauth2/token", "not among the sign-in hosts"),
        (f"https://login.microsoftonline.com:8443/{TENANT}/oauth2/token", "not among the sign-in hosts"),
        ("https://login.microsoftonline.com/", "names no tenant"),
        ("https://login.microsoftonline.com", "names no tenant"),
        ("https://login.microsoftonline.com/common/oauth2/token", "any tenant"),
        ("https://login.microsoftonline.com/Organizations/oauth2/v2.0/token", "any tenant"),
        ("https://login.microsoftonline.com/consumers/oauth2/token", "any tenant"),
        ("https://login.microsoftonline.com/contoso/oauth2/token", "neither a tenant"),
        ("https://login.microsoftonline.com/..%2fx.y/oauth2/token", "not a DNS name"),
        (f"https://login.microsoftonline.com/{TENANT}/oauth2/authorize", "must end in /oauth2/token"),
        (f"https://login.microsoftonline.com/{TENANT}/oauth2/token?x=1", "query"),
        (f"https://u:p@login.microsoftonline.com/{TENANT}/oauth2/token", "user name"),
        (f"https://127.0.0.1/{TENANT}/oauth2/token", "IP address"),
    ],
)
def test_bad_token_endpoints(text: str, words: str) -> None:
    with pytest.raises(AddressError, match=words):
        parse_token_endpoint(text, SIGN_IN)


def test_an_older_host_name_needs_todays_on_the_list() -> None:
    with pytest.raises(AddressError, match=r"login\.microsoftonline\.com is not among"):
        parse_token_endpoint(f"https://sts.windows.net/{TENANT}/", ("sts.windows.net",))


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "192.168.0.1", "172.16.0.1", "fd12::1", "20.50.1.1", "2603:1020::1"]
)
def test_private_and_public_peers_are_accepted(address: str) -> None:
    assert why_peer_refused(address, loopback_allowed=False) == ""


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1", "loopback"),
        ("127.9.9.9", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("2002:a9fe:a9fe::", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("168.63.129.16", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("0.0.0.0", "not an address of one machine"),
        ("::", "not an address of one machine"),
        ("224.0.0.1", "not an address of one machine"),
        ("255.255.255.255", "not an address of one machine"),
    ],
)
def test_peers_that_are_refused(address: str, words: str) -> None:
    assert words in why_peer_refused(address, loopback_allowed=False)


def test_loopback_peers_only_for_a_loopback_host() -> None:
    assert why_peer_refused("127.0.0.1", loopback_allowed=True) == ""
    assert why_peer_refused("169.254.169.254", loopback_allowed=True)
