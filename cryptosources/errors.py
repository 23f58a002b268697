"""What a crypto source service refuses, in words for people."""

from collections.abc import Mapping


class SourceError(Exception):
    """A request about a crypto source was refused; ``str()`` is safe to show."""


class InvalidSource(SourceError):
    """The settings break a rule. ``problems`` maps a field's name to what is wrong with it."""

    def __init__(self, problems: Mapping[str, list[str]]) -> None:
        super().__init__(" ".join(text for texts in problems.values() for text in texts))
        self.problems = dict(problems)


class EditConflict(SourceError):
    """Somebody else changed the source after the editor had opened it."""

    def __init__(self, friendly_name: str, changed_by: str) -> None:
        super().__init__(
            f"“{friendly_name}” was changed by {changed_by} meanwhile, so your changes were not saved. "
            "Your entries are still in this form: look at the current settings in another window, "
            "then save again here to put yours in their place."
        )
        self.changed_by = changed_by


class SourceGone(SourceError):
    """The source was deleted."""

    def __init__(self, friendly_name: str) -> None:
        super().__init__(f"“{friendly_name}” was deleted meanwhile.")


class SourceInactive(SourceError):
    """The source is Inactive: nothing may generate a key with it nor read a key for signing."""

    def __init__(self, friendly_name: str) -> None:
        super().__init__(
            f"The crypto source “{friendly_name}” is Inactive. An administrator can make it Active."
        )


class SourceInUse(SourceError):
    """Keys depend on the source, so it cannot be deleted."""

    def __init__(self, friendly_name: str, keys: int) -> None:
        depend = "1 key depends" if keys == 1 else f"{keys} keys depend"
        reason = f"{depend} on it" if keys else "the records of keys it once had are kept with it"
        super().__init__(f"“{friendly_name}” cannot be deleted: {reason}. Make it Inactive instead.")
        self.keys = keys


class CycleRefused(SourceError):
    """A connection test may not make a throw-away key in this source; ``str()`` says why."""


class TestKeyOwed(SourceError):
    """A throw-away key of a connection test may still be in the source's HSM, so the act must wait."""

    __test__ = False

    def __init__(self, friendly_name: str, act: str) -> None:
        super().__init__(
            f"“{friendly_name}” cannot be {act} yet: a throw-away key of a connection test is still being "
            "removed from its HSM. The source's page shows how far that is."
        )
