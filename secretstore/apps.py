from django.apps import AppConfig


class SecretstoreConfig(AppConfig):
    name = "secretstore"
    verbose_name = "Secret store"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from secretstore import checks  # noqa: F401  (registers the system checks)
