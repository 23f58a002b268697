"""Where a source may point: the providers' address rules with this installation's allow-lists."""

from django.conf import settings

from cryptosources.providers.hosts import parse_hsm_address, parse_token_endpoint


def hsm_base_url(text: str) -> str:
    """``https://host[:port]`` of an allowed HSM. Raises ``AddressError``, a ValueError for people."""
    return parse_hsm_address(text, settings.HSM_HOSTS).base_url


def token_endpoint(text: str) -> str:
    """The token URL of an allowed sign-in service, in lower case. Raises ``AddressError``."""
    parse_token_endpoint(text, settings.TOKEN_HOSTS)
    return text.strip().lower()
