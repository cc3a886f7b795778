"""Every setting of the project, top to bottom. Environment variables are read here and nowhere else.

`docs/configuration.md` explains each variable, and a test keeps that page in step with this file.
"""

import os
from datetime import timedelta
from pathlib import Path

from corsheaders.defaults import default_headers
from csp.constants import NONCE, NONE, SELF

from aiworkflow_project import database_url, environment, queue_url, secret_key

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Where state lives, and what kind of site this is ---------------------------------------------------------------

DATA_DIR = Path(environment.text("DATA_DIR", str(BASE_DIR / "var"))).resolve()
DEBUG = environment.flag("DEBUG", True)
DEBUG_API = environment.flag("DEBUG_API", DEBUG)
SECRET_KEY = secret_key.find(environment.text("SECRET_KEY"), DATA_DIR, debug=DEBUG)
ALLOWED_HOSTS = environment.words("ALLOWED_HOSTS") or (["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])
CSRF_TRUSTED_ORIGINS = environment.words("CSRF_TRUSTED_ORIGINS")
BEHIND_PROXY = environment.flag("BEHIND_PROXY", False)

# --- Applications ---------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "aiworkflow_project.apps.ConsoleConfig",
    "aiworkflow_project.apps.ConsoleAdminConfig",  # django.contrib.admin with our site
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "csp",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
    "accounts",
    "workflows",
    "jobs",  # before django_q, whose qcluster command it overrides
    "django_q",
]

MIDDLEWARE = [
    "aiworkflow_project.logging.RequestIdMiddleware",
    "aiworkflow_project.api.errors.ProblemMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "aiworkflow_project.middleware.CSPMiddleware",
    "aiworkflow_project.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "aiworkflow_project.middleware.AuthenticationMiddleware",
    "aiworkflow_project.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "aiworkflow_project.urls"
WSGI_APPLICATION = "aiworkflow_project.wsgi.application"
APPEND_SLASH = False  # every API path works with and without a slash: a redirected POST would lose its body

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

# --- Database -------------------------------------------------------------------------------------------------------

DATABASES = {
    "default": database_url.parse(
        environment.text("DATABASE_URL") or environment.text("DATABASE_URI"),
        default=DATA_DIR / "aiworkflow.sqlite3",
        base_dir=BASE_DIR,
    )
}
# What MariaDB and MatrixOne leave out of indexes and constraints is meant as a help there, never as a guarantee.
SILENCED_SYSTEM_CHECKS = ["models.W027", "models.W036", "models.W037"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- People and sessions --------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
FIRST_ADMIN = {
    "username": environment.text("DJANGO_SUPERUSER_USERNAME", "admin"),
    "password": environment.text("DJANGO_SUPERUSER_PASSWORD"),
    "email": environment.text("DJANGO_SUPERUSER_EMAIL"),
}

# --- Language and time ----------------------------------------------------------------------------------------------

LANGUAGE_CODE = environment.text("LANGUAGE_CODE", "en")
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = environment.time_zone("TIME_ZONE", "UTC")

# --- Static files ---------------------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_USE_FINDERS = DEBUG
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# --- Security headers -----------------------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SECURE_SSL_REDIRECT = environment.flag("SECURE_SSL_REDIRECT", not DEBUG)
SECURE_HSTS_SECONDS = 0 if DEBUG else 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not DEBUG
SECURE_REDIRECT_EXEMPT = [r"^ping/?$", r"^health/?$"]  # probes come from inside
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    USE_X_FORWARDED_HOST = True

CORS_ALLOWED_ORIGINS = environment.words("CORS_ALLOWED_ORIGINS")
CORS_URLS_REGEX = r"^/(api|openapi)"
CORS_ALLOW_HEADERS = [*default_headers, "x-request-id", "last-event-id"]
CORS_EXPOSE_HEADERS = ["x-request-id", "location"]

# --- The web server (manage.py serve) ---------------------------------------------------------------------------------

WEB_THREADS = environment.integer("WEB_THREADS", 6, least=1)

# --- The API --------------------------------------------------------------------------------------------------------

DATA_UPLOAD_MAX_MEMORY_SIZE = environment.integer("MAX_BODY_MB", 10, least=1) * 1024 * 1024

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "aiworkflow_project.api.authentication.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["aiworkflow_project.api.permissions.ModelPermissions"],
    "DEFAULT_PARSER_CLASSES": ["aiworkflow_project.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["aiworkflow_project.api.renderers.JSONRenderer"],
    "DEFAULT_FILTER_BACKENDS": ["aiworkflow_project.api.filters.StrictFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "aiworkflow_project.api.pagination.Pagination",
    "DEFAULT_SCHEMA_CLASS": "aiworkflow_project.api.schema.AutoSchema",
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    "URL_FORMAT_OVERRIDE": None,  # one format; and `?format=` is then refused like any other stranger
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_HANDLER_CLASS": "aiworkflow_project.api.errors.ExceptionHandler",
    "EXCEPTION_FORMATTER_CLASS": "aiworkflow_project.api.errors.ProblemFormatter",
    "ENABLE_IN_DEBUG_FOR_UNHANDLED_EXCEPTIONS": True,
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=1),
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
    "CHECK_REVOKE_TOKEN": True,
    "UPDATE_LAST_LOGIN": True,
    "ISSUER": "aiworkflow",
}
METRICS_TOKEN = environment.text("METRICS_TOKEN")

SPECTACULAR_SETTINGS = {
    "TITLE": "AI WorkFlow",
    "DESCRIPTION": "Manages and runs AI workflows: Haystack pipelines as durable jobs.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "PREPROCESSING_HOOKS": ["aiworkflow_project.api.schema.one_address_each"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "aiworkflow_project.api.schema.add_problem",
    ],
    "ENUM_NAME_OVERRIDES": {"JobStatus": "jobs.models.Job.Status", "StepStatus": "jobs.models.JobStep.Status"},
}

# --- The engine: what pipelines may do, and how much of it -----------------------------------------------------------

RUNNER_SOCKET = environment.text("RUNNER_SOCKET", str(DATA_DIR / "runner.sock"))
PIPELINE_SECRETS = environment.words("PIPELINE_SECRETS")  # NAME@host[:port]
ENGINE = {
    "data_dir": DATA_DIR,
    "socket": RUNNER_SOCKET,
    "hosts": tuple(environment.words("PIPELINE_HOSTS")),
    "secrets": tuple(PIPELINE_SECRETS),
    "secret_values": {
        name: os.environ[name] for name in (entry.partition("@")[0] for entry in PIPELINE_SECRETS) if name in os.environ
    },
    "components": tuple(environment.words("PIPELINE_COMPONENTS")),
    "memory_mb": environment.integer("PIPELINE_MEMORY_MB", 1024, least=64),
    "residents": environment.integer("PIPELINE_RESIDENTS", 0, least=0),
    "result_bytes": environment.integer("PIPELINE_RESULT_MB", 10, least=1) * 1024 * 1024,
}

# --- Jobs -----------------------------------------------------------------------------------------------------------

JOB_TIMEOUT_SECONDS = environment.integer("JOB_TIMEOUT_SECONDS", 3600, least=1)
JOB_MAX_ATTEMPTS = environment.integer("JOB_MAX_ATTEMPTS", 3, least=1)
JOB_LEASE_SECONDS = environment.integer("JOB_LEASE_SECONDS", 30, least=2)
JOBS_PER_WORKER = environment.integer("JOBS_PER_WORKER", 64, least=1)
JOB_SWEEP_SECONDS = environment.integer("JOB_SWEEP_SECONDS", 5, least=1)
DRAIN_SECONDS = environment.integer("DRAIN_SECONDS", 25, least=1)

# --- Retention: days after a job's end; 0 keeps for ever -------------------------------------------------------------

RETENTION_MOST_DAYS = 36_500  # no database can count much further back from now
RETENTION_JOBS_DAYS = environment.integer("RETENTION_JOBS_DAYS", 30, most=RETENTION_MOST_DAYS)
RETENTION_STEPS_DAYS = environment.integer("RETENTION_STEPS_DAYS", 7, most=RETENTION_MOST_DAYS)

# --- The queue (django-q2), which only wakes workers up -------------------------------------------------------------

QUEUE_URL = environment.text("QUEUE_URL")
WORKERS = environment.integer("WORKERS", 2, least=1)
# A wake-up lasts as long as there is work, so django-q2's own time limits must never ring. (It has no "never":
# without a number it can't tell a busy worker from an idle one.) Runs have limits of their own.
_NEVER = 10**8
Q_CLUSTER = {
    "name": "aiworkflow",
    "orm": "default",
    "broker_class": queue_url.broker_class(QUEUE_URL),
    "workers": WORKERS,
    "queue_limit": 1,  # a pool takes no more than it can start: what it held would be kept from idle ones
    "bulk": 1,
    "poll": 0.1,
    "timeout": _NEVER,
    "retry": 10 * _NEVER,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "catch_up": False,
    "guard_cycle": 0.5,
    "log_level": "WARNING",
    "ALT_CLUSTERS": {"aiworkflow": {}},
}

# --- Logs -----------------------------------------------------------------------------------------------------------

LOG_LEVEL = environment.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "aiworkflow_project.logging.RequestIdFilter"}},
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"},
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request_id"]},
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "propagate": True},  # else DEBUG prints each of its lines twice
        "django-q": {"level": "WARNING"},  # a line for each wake-up would bury what jobs say
    },
}
