"""What can go wrong with sealed values. No message ever holds a secret or a key."""


class SecretStoreError(Exception):
    """The parent of all errors of the secret store; its text is safe to show."""


class BadRing(SecretStoreError):
    """A key ring cannot be read or does not hold what it should."""


class KeysMissing(SecretStoreError):
    """This process has no key ring for what it was asked to do."""


class SealedForWorkers(SecretStoreError):
    """Only worker processes open sealed values."""


class CannotOpen(SecretStoreError):
    """No key here opens the value, or it was altered, or it belongs to another row or column."""
