"""The one settings file. Everything that differs between installations comes from the environment.

Variables start with ``KEYMANAGER_``; ``docs/settings.md`` lists them. ``KEYMANAGER_ROLE`` says what
this process is: ``web`` (the default; holds public sealing keys only), ``worker`` (opens secrets and
talks to HSMs) or ``beat`` (sends periodic tasks; neither).
"""

from pathlib import Path

import environ
import structlog

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

# --- What this process is ---------------------------------------------------------------------
ROLE = env.str("KEYMANAGER_ROLE", default="web")
DEMO = env.bool("KEYMANAGER_DEMO", default=False)
DEBUG = env.bool("KEYMANAGER_DEBUG", default=False)
INSECURE_HTTP = env.bool("KEYMANAGER_INSECURE_HTTP", default=DEMO)
SECRET_KEY = env.str("KEYMANAGER_SECRET_KEY", default="")
ALLOWED_HOSTS = env.list("KEYMANAGER_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("KEYMANAGER_TRUSTED_ORIGINS", default=[])
DATA_DIR = Path(env.str("KEYMANAGER_DATA_DIR", default=str(BASE_DIR / "var")))

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
    "default": env.db_url("KEYMANAGER_DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'keymanager.sqlite3'}")
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
PROVIDER_DEADLINE = env.float("KEYMANAGER_PROVIDER_DEADLINE", default=30.0)
SOFT_LIMIT = env.float("KEYMANAGER_SOFT_LIMIT", default=60.0)
HARD_LIMIT = env.float("KEYMANAGER_HARD_LIMIT", default=90.0)
CLAIM_SECONDS = env.float("KEYMANAGER_CLAIM_SECONDS", default=180.0)
VISIBILITY_TIMEOUT = env.float("KEYMANAGER_VISIBILITY_TIMEOUT", default=600.0)
# How often beat looks for operations whose message was lost or whose worker died.
RESEND_SECONDS = env.float("KEYMANAGER_RESEND_SECONDS", default=5.0)
# After so many failed attempts at one step an operation fails and waits for a person.
MAX_ATTEMPTS = env.int("KEYMANAGER_MAX_ATTEMPTS", default=10)

# --- Celery -----------------------------------------------------------------------------------
CELERY_BROKER_URL = env.str("KEYMANAGER_BROKER_URL", default="redis://localhost:6379/0")
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
    "*.upkeep_*": {"queue": "upkeep"},
}
CELERY_BEAT_SCHEDULE = {
    "resend-operations": {
        "task": "keys.tasks.upkeep_resend_operations",
        "schedule": RESEND_SECONDS,
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
# ``.suffix`` allows every host below it; ``host[:port]=audience`` allows one host with the token
# audience an administrator vouches for. Loopback names work only when listed like that.
HSM_HOSTS = env.list(
    "KEYMANAGER_HSM_HOSTS",
    default=[".managedhsm.azure.net", ".managedhsm.usgovcloudapi.net", ".managedhsm.azure.cn"],
)
TOKEN_HOSTS = env.list(
    "KEYMANAGER_TOKEN_HOSTS",
    default=[
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.chinacloudapi.cn",
        "sts.windows.net",
        "login.windows.net",
    ],
)

# The in-memory source type keeps its keys in one process's memory: for the test-suite, never for use.
ALLOW_MEMORY_SOURCES = env.bool("KEYMANAGER_ALLOW_MEMORY_SOURCES", default=False)

# --- Sealing keys -----------------------------------------------------------------------------
# The public ring is for everybody; the private ring is for workers only.
PUBLIC_KEYS_FILE = env.str("KEYMANAGER_PUBLIC_KEYS_FILE", default="")
PRIVATE_KEYS_FILE = env.str("KEYMANAGER_PRIVATE_KEYS_FILE", default="")
PRIVATE_KEYS = env.str("KEYMANAGER_PRIVATE_KEYS", default="")

# --- Licence ----------------------------------------------------------------------------------
LICENCE_ISSUER_KEYS_FILE = env.str("KEYMANAGER_LICENCE_ISSUER_KEYS_FILE", default="")

# --- People -----------------------------------------------------------------------------------
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
LOGOUT_REDIRECT_URL = "admin:login"
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
SECURE_HSTS_SECONDS = env.int("KEYMANAGER_HSTS_SECONDS", default=0)
if env.bool("KEYMANAGER_BEHIND_TLS_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- Static files, language, time ------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = Path(env.str("KEYMANAGER_STATIC_ROOT", default=str(DATA_DIR / "static")))
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = "keymanager.formats"
TIME_ZONE = env.str("KEYMANAGER_TIME_ZONE", default="UTC")
USE_I18N = True
USE_TZ = True

# --- Logs: structured, one event a happening, never a secret -----------------------------------
LOG_LEVEL = env.str("KEYMANAGER_LOG_LEVEL", default="INFO")
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
