from django.apps import AppConfig


class SecretstoreConfig(AppConfig):
    name = "secretstore"
    verbose_name = "Secret store"
    default_auto_field = "django.db.models.BigAutoField"
