"""Who did it: a person, a part of the system, or a management command."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from django.contrib.auth.models import AbstractBaseUser


class ActorKind(StrEnum):
    PERSON = "person"
    SYSTEM = "system"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Actor:
    """Copied into the record as text, so that it stays readable when the account is gone."""

    kind: ActorKind
    identifier: str
    name: str

    @classmethod
    def person(cls, user: AbstractBaseUser) -> Self:
        """The signed-in user; ValueError for one that has no row."""
        if user.pk is None:
            raise ValueError("An actor must be a stored user.")
        return cls(ActorKind.PERSON, str(user.pk), user.get_username())

    @classmethod
    def system(cls, name: str) -> Self:
        """A part of the system acting by itself, such as ``worker`` or ``beat``."""
        return cls(ActorKind.SYSTEM, name, name)

    @classmethod
    def command(cls, name: str) -> Self:
        """A management command; whoever may run one is known to the host, not to us."""
        return cls(ActorKind.COMMAND, name, name)
