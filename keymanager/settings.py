"""The one settings file. What differs between installations comes from the environment.

``keymanager/environment.py`` declares every variable with its type, default and meaning;
``docs/reference/settings.md`` is written from it.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from keymanager import environment as env

BASE_DIR = Path(__file__).resolve().parent.parent

# --- What this process is ---------------------------------------------------------------------
ROLE = env.ROLE.read()
DEMO = env.DEMO.read()
DEBUG = env.DEBUG.read()
INSECURE_HTTP = env.INSECURE_HTTP.read(default=DEMO)
SECRET_KEY = env.SECRET_KEY.read()
ALLOWED_HOSTS = env.ALLOWED_HOSTS.read()
CSRF_TRUSTED_ORIGINS = env.TRUSTED_ORIGINS.read()
DATA_DIR = Path(env.DATA_DIR.read() or BASE_DIR / "var")

INSTALLED_APPS = [
    "keymanager.apps.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.forms",
    "crispy_forms",
    "csp",
    "audit",
    "licensing",
    "secretstore",
    "cryptosources",
    "keys",
    "sandbox",
    "keymanager.apps.KeymanagerConfig",
    "axes",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "keymanager.urls"
WSGI_APPLICATION = "keymanager.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
CRISPY_ALLOWED_TEMPLATE_PACKS = ("console",)
CRISPY_TEMPLATE_PACK = "console"

# --- Database: PostgreSQL in production, SQLite for a first look ------------------------------
DATABASES = {
    "default": env.DATABASE_URL.read()
    or {"ENGINE": "django.db.backends.sqlite3", "NAME": str(DATA_DIR / "keymanager.sqlite3")}
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # Immediate transactions take the write lock at BEGIN, so two writers queue on the busy timeout
    # instead of failing half-way; FULL makes a committed backup survive a power cut.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
else:
    DATABASES["default"].setdefault("CONN_MAX_AGE", 60)
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Time ladder (seconds): each step must be shorter than the next (checked at start) ---------
PROVIDER_DEADLINE = env.PROVIDER_DEADLINE.read()
SOFT_LIMIT = env.SOFT_LIMIT.read()
HARD_LIMIT = env.HARD_LIMIT.read()
CLAIM_SECONDS = env.CLAIM_SECONDS.read()
VISIBILITY_TIMEOUT = env.VISIBILITY_TIMEOUT.read()
RESEND_SECONDS = env.RESEND_SECONDS.read()
MAX_ATTEMPTS = env.MAX_ATTEMPTS.read()

# --- Celery -----------------------------------------------------------------------------------
CELERY_BROKER_URL = env.BROKER_URL.read()
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": VISIBILITY_TIMEOUT,
    "socket_connect_timeout": 3,
    "socket_timeout": 10,
    "health_check_interval": 30,
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SOFT_TIME_LIMIT = SOFT_LIMIT
CELERY_TASK_TIME_LIMIT = HARD_LIMIT
CELERY_TASK_CREATE_MISSING_QUEUES = True
CELERY_TASK_DEFAULT_QUEUE = "operations"
CELERY_TASK_ROUTES = {
    "keys.tasks.run_operation": {"queue": "operations"},
    "cryptosources.tasks.run_connection_test": {"queue": "checks"},
    "cryptosources.tasks.run_key_cycle": {"queue": "checks"},
    "*.upkeep_*": {"queue": "upkeep"},
}
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "resend-operations": {
        "task": "keys.tasks.upkeep_resend_operations",
        # Every second at least: it also starts what is scheduled, such as the keys of a batch.
        "schedule": min(RESEND_SECONDS, 1.0),
        "options": {"queue": "upkeep", "expires": max(RESEND_SECONDS * 2, 2)},
    },
    "connection-tests": {
        "task": "cryptosources.tasks.upkeep_connection_tests",
        "schedule": RESEND_SECONDS,
        "options": {"queue": "upkeep", "expires": max(RESEND_SECONDS * 2, 2)},
    },
}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False

# --- Where HSM traffic and secrets may go ----------------------------------------------------
HSM_HOSTS = env.HSM_HOSTS.read()
TOKEN_HOSTS = env.TOKEN_HOSTS.read()

ALLOW_MEMORY_SOURCES = env.ALLOW_MEMORY_SOURCES.read()

# --- Sealing keys -----------------------------------------------------------------------------
PUBLIC_KEYS_FILE = env.PUBLIC_KEYS_FILE.read()
PRIVATE_KEYS_FILE = env.PRIVATE_KEYS_FILE.read()
PRIVATE_KEYS = env.PRIVATE_KEYS.read()

# --- Licence ----------------------------------------------------------------------------------
LICENCE_ISSUER_KEYS_FILE = env.LICENCE_ISSUER_KEYS_FILE.read()

# --- People -----------------------------------------------------------------------------------
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
LOGOUT_REDIRECT_URL = "admin:login"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
# The lock after failed sign-ins: for one name at one address (keymanager.sign_in says why).
AXES_FAILURE_LIMIT = env.SIGN_IN_FAILURES.read()
AXES_COOLOFF_TIME = timedelta(minutes=env.SIGN_IN_LOCK_MINUTES.read())
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_USERNAME_CALLABLE = "keymanager.sign_in.veiled_name"
AXES_CLIENT_IP_CALLABLE = "keymanager.sign_in.counted_address"
AXES_LOCKOUT_CALLABLE = "keymanager.sign_in.locked_page"
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "csrfmiddlewaretoken", "next"]
# The audit record holds what happened: no second log, and no second place to look at it.
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# --- Browser security -------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not INSECURE_HTTP
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 8 * 3600
SECURE_SSL_REDIRECT = False
SECURE_HSTS_SECONDS = env.HSTS_SECONDS.read()
BEHIND_TLS_PROXY = env.BEHIND_TLS_PROXY.read()
if BEHIND_TLS_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- Static files, language, time ------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = Path(env.STATIC_ROOT.read() or DATA_DIR / "static")
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = "keymanager.formats"
TIME_ZONE = env.TIME_ZONE.read()
USE_I18N = True
USE_TZ = True

# --- Logs: structured, one event a happening, never a secret -----------------------------------
LOG_LEVEL = env.LOG_LEVEL.read()
_shared_processors: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
structlog.configure(
    processors=[*_shared_processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
            "foreign_pre_chain": _shared_processors,
        },
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # The SDK logs request headers and MSAL its cache at INFO/DEBUG: warnings are enough.
        "azure": {"level": "WARNING"},
        "msal": {"level": "WARNING"},
        "urllib3": {"level": "WARNING"},
        "celery": {"level": "WARNING"},
    },
}
