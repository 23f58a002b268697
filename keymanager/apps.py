from django.apps import AppConfig, apps
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate


class KeymanagerConfig(AppConfig):
    name = "keymanager"
    verbose_name = "Key Manager"

    def ready(self) -> None:
        from keymanager import (
            checks,  # noqa: F401  (registers the system checks)
            licence_uses,
            sign_in,
        )
        from keymanager.roles import sync_roles
        from licensing.uses import register

        sign_in.connect()
        register(licence_uses.source_types)

        # This app has no models and so gets no signal of its own. By the one of the highest room every
        # permission exists, because Django's receiver, which makes them, was connected before this one.
        post_migrate.connect(sync_roles, sender=apps.get_app_config("keys"))


class ConsoleConfig(AdminConfig):
    """Django's admin framework with the console's own site in place of the default one."""

    default_site = "keymanager.console.ConsoleSite"
