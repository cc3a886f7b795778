"""Turns DATABASE_URL (or the SQLAlchemy-style DATABASE_URI) into Django's database settings.

No message ever contains the URL: it holds a password.
"""

from pathlib import Path
from urllib.parse import parse_qsl, unquote

from django.core.exceptions import ImproperlyConfigured

# Scheme → (backend, default port, the SQLAlchemy drivers that users may have named). Django has drivers of its own.
BACKENDS = {
    "sqlite": ("django.db.backends.sqlite3", None, {"aiosqlite", "pysqlite"}),
    "postgresql": (
        "django.db.backends.postgresql",
        5432,
        {"asyncpg", "psycopg", "psycopg_async", "psycopg2", "pg8000", "aiopg"},
    ),
    "mysql": (
        "aiworkflow_project.db.mysql",
        3306,
        {"asyncmy", "aiomysql", "pymysql", "mysqldb", "mysqlclient", "mysqlconnector", "mariadbconnector"},
    ),
}
ALIASES = {"sqlite3": "sqlite", "postgres": "postgresql", "pgsql": "postgresql", "mariadb": "mysql"}

# What may stand behind the "?", and how its text becomes a value.
POSTGRESQL_OPTIONS = {
    "sslmode": str, "sslrootcert": str, "sslcert": str, "sslkey": str, "application_name": str, "options": str,
    "target_session_attrs": str, "connect_timeout": int, "keepalives": int, "keepalives_idle": int, "service": str,
}  # fmt: skip
MYSQL_OPTIONS = {
    "charset": str, "connect_timeout": int, "read_timeout": int, "write_timeout": int, "isolation_level": str,
    "init_command": str, "sql_mode": str, "unix_socket": str, "ssl_ca": str, "ssl_cert": str, "ssl_key": str,
}  # fmt: skip
SQLITE_PRAGMAS = ("journal_mode", "synchronous")


def parse(url: str, *, default: Path, base_dir: Path) -> dict:
    """Django's settings of the database that `url` names; without a URL, SQLite in the file `default`.

    A relative SQLite path is relative to `base_dir`, so that web and workers find the same file wherever they start.
    Raises ImproperlyConfigured for an unknown scheme, driver or parameter.
    """
    url = url.strip().strip("'\"")
    if not url:
        default.parent.mkdir(parents=True, exist_ok=True)
        return _sqlite(str(default), {})
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ImproperlyConfigured("DATABASE_URL must look like scheme://user:password@host:port/name.")
    family, _, driver = scheme.lower().partition("+")
    family = ALIASES.get(family, family)
    if family not in BACKENDS:
        known = ", ".join(sorted([*BACKENDS, *ALIASES]))
        raise ImproperlyConfigured(f"DATABASE_URL has the scheme {scheme!r}. Known are: {known}.")
    backend, port, drivers = BACKENDS[family]
    if driver and driver not in drivers:
        raise ImproperlyConfigured(f"DATABASE_URL names the driver {driver!r}. Known are: {', '.join(sorted(drivers))}.")
    address, _, query = rest.partition("?")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    if family == "sqlite":
        return _sqlite(_sqlite_path(address, base_dir), parameters)
    return _server(backend, port, address, parameters)


def _sqlite_path(address: str, base_dir: Path) -> str:
    if address in ("", "/", "/:memory:"):
        raise ImproperlyConfigured("An SQLite database in memory can't be shared by web and workers: name a file.")
    if not address.startswith("/"):
        raise ImproperlyConfigured("A relative SQLite path has three slashes: sqlite:///app.db.")
    path = Path(unquote(address[1:])).expanduser()
    return str(path if path.is_absolute() else base_dir / path)


def _sqlite(path: str, parameters: dict) -> dict:
    pragmas = {"journal_mode": "WAL", "synchronous": "NORMAL", "journal_size_limit": "67108864"}
    pragmas |= {name: parameters.pop(name) for name in SQLITE_PRAGMAS if name in parameters}
    timeout = _typed("timeout", parameters.pop("timeout", "20"), float)
    parameters.pop("check_same_thread", None)  # SQLAlchemy's habit, of no meaning here
    _refuse(parameters)
    for name, value in pragmas.items():
        if not value.isalnum():
            raise ImproperlyConfigured(f"DATABASE_URL has an unusable {name}.")
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "timeout": timeout,
            # Without it, transactions that read first fail at once with "database is locked" under load.
            "transaction_mode": "IMMEDIATE",
            "init_command": "".join(f"PRAGMA {name}={value};" for name, value in pragmas.items()),
        },
    }


def _server(backend: str, port: int, address: str, parameters: dict) -> dict:
    # At the last "@": a password may hold one. A "/" in it is tolerated for the same reason.
    credentials, _, location = address.rpartition("@")
    user, _, password = credentials.partition(":")
    host, _, name = location.partition("/")
    if not name:
        raise ImproperlyConfigured("DATABASE_URL names no database behind the host.")
    if host.startswith("["):
        host, _, port_text = host[1:].partition("]")
        port_text = port_text.lstrip(":")
    else:
        host, _, port_text = host.partition(":")
    settings = {
        "ENGINE": backend,
        "NAME": unquote(name),
        "USER": unquote(user),
        "PASSWORD": unquote(password),
        "HOST": unquote(host),
        "PORT": _typed("port", port_text, int) if port_text else port,
        "CONN_MAX_AGE": _typed("conn_max_age", parameters.pop("conn_max_age", "600"), int),
        "CONN_HEALTH_CHECKS": True,
    }
    known = POSTGRESQL_OPTIONS if backend.endswith("postgresql") else MYSQL_OPTIONS
    options = {key: _typed(key, parameters.pop(key), known[key]) for key in list(parameters) if key in known}
    _refuse(parameters)
    if known is MYSQL_OPTIONS:
        options["charset"] = "utf8mb4"  # nothing less holds all of Chinese and emoji
        tls = {key.removeprefix("ssl_"): options.pop(key) for key in ("ssl_ca", "ssl_cert", "ssl_key") if key in options}
        if tls:
            options["ssl"] = tls
    return settings | {"OPTIONS": options}


def _typed(name: str, value: str, kind: type):
    try:
        return kind(value)
    except ValueError:
        raise ImproperlyConfigured(f"DATABASE_URL has an unusable {name}.") from None


def _refuse(parameters: dict) -> None:
    if parameters:
        unknown = ", ".join(sorted(parameters))
        raise ImproperlyConfigured(
            f"DATABASE_URL has unknown parameters: {unknown}. (Is a ? in the password not written as %3F?)"
        )
