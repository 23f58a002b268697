from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate


class KeymanagerConfig(AppConfig):
    name = "keymanager"
    verbose_name = "Key Manager"

    def ready(self) -> None:
        from keymanager import checks  # noqa: F401  (registers the system checks)
        from keymanager.roles import sync_roles

        post_migrate.connect(sync_roles, sender=self)


class ConsoleConfig(AdminConfig):
    """Django's admin framework with the console's own site in place of the default one."""

    default_site = "keymanager.console.ConsoleSite"
