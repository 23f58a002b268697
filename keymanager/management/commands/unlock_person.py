"""Let a person sign in again who is locked out: for the administrator who has nobody to ask."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actors import Actor
from keymanager.sign_in import unlock


class Command(BaseCommand):
    help = "Forget a person's failed sign-ins, so that they can sign in again at once. It is recorded."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="as the person types it to sign in")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            person = User.objects.get(username=options["username"])
        except User.DoesNotExist:
            raise CommandError(f"There is no person with the user name {options['username']}.") from None
        found = unlock(person=person, actor=Actor.command("unlock_person"), now=timezone.now())
        self.stdout.write(
            f"{person.username} can sign in again." if found else f"{person.username} has no failed sign-ins."
        )
