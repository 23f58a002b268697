from django.apps import AppConfig


class CryptosourcesConfig(AppConfig):
    name = "cryptosources"
    verbose_name = "Crypto sources"
    default_auto_field = "django.db.models.BigAutoField"
