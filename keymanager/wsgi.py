"""The WSGI door (granian serves it)."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keymanager.settings")

application = get_wsgi_application()

from keymanager.startup import refuse_unfit_settings  # noqa: E402  (the apps must be loaded)

refuse_unfit_settings()
