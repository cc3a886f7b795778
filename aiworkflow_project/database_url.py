"""Turns DATABASE_URL (or the SQLAlchemy-style DATABASE_URI) into Django's database settings.

No message ever contains the URL, nor a part of it that could be a password in the wrong place.
"""

import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from django.core.exceptions import ImproperlyConfigured

# Scheme → (backend, default port, the SQLAlchemy drivers that users may have named). Django has drivers of its own.
BACKENDS = {
    "sqlite": ("aiworkflow_project.db.sqlite", None, {"aiosqlite", "pysqlite"}),
    "postgresql": (
        "aiworkflow_project.db.postgresql",
        5432,
        {"asyncpg", "psycopg", "psycopg_async", "psycopg2", "pg8000", "aiopg"},
    ),
    "mysql": (
        "aiworkflow_project.db.mysql",
        3306,
        {"asyncmy", "aiomysql", "pymysql", "mysqldb", "mysqlclient", "mysqlconnector", "mariadbconnector"},
    ),
    "matrixone": ("aiworkflow_project.db.matrixone", 6001, {"asyncmy", "aiomysql", "pymysql"}),
}
ALIASES = {"sqlite3": "sqlite", "postgres": "postgresql", "pgsql": "postgresql", "mariadb": "mysql"}

# What may stand behind the "?", and how its text becomes a value.
POSTGRESQL_OPTIONS = {
    "sslmode": str, "sslrootcert": str, "sslcert": str, "sslkey": str, "application_name": str, "options": str,
    "target_session_attrs": str, "connect_timeout": int, "keepalives": int, "keepalives_idle": int,
    "keepalives_interval": int, "keepalives_count": int, "tcp_user_timeout": int, "service": str,
}  # fmt: skip
MYSQL_OPTIONS = {
    "charset": str, "connect_timeout": int, "read_timeout": int, "write_timeout": int, "isolation_level": str,
    "init_command": str, "sql_mode": str, "unix_socket": str, "ssl_ca": str, "ssl_cert": str, "ssl_key": str,
}  # fmt: skip
# A server that is gone without a word is noticed within half a minute, where the system would wait for hours.
POSTGRESQL_DEFAULTS = {
    "connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}  # fmt: skip
MYSQL_CHARSETS = {"utf8", "utf8mb3", "utf8mb4"}
SQLITE_PRAGMAS = {
    "journal_mode": {"DELETE", "TRUNCATE", "PERSIST", "WAL"},
    "synchronous": {"NORMAL", "FULL", "EXTRA"},
}

NAME = "DATABASE_URL (or DATABASE_URI)"


def parse(url: str, *, default: Path, base_dir: Path) -> dict:
    """Django's settings of the database that `url` names; without a URL, SQLite in the file `default`.

    A relative SQLite path is relative to `base_dir`, so that web and workers find the same file wherever they start.
    Raises ImproperlyConfigured, which says what to write instead, for whatever can't be meant.
    """
    url = url.strip().strip("'\"")
    if not url:
        return _sqlite(default, {})
    scheme, separator, rest = url.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+_-]*", scheme):
        raise _refused("must look like scheme://user:password@host:port/name")
    family, _, driver = scheme.lower().partition("+")
    family = ALIASES.get(family, family)
    if family not in BACKENDS:
        raise _refused(f"has the unknown scheme {family!r}: write one of {_listed([*BACKENDS, *ALIASES])}")
    backend, port, drivers = BACKENDS[family]
    if driver and driver not in drivers:
        raise _refused(f"names the unknown driver {driver!r}: write {family}:// alone, or one of {_listed(drivers)}")
    address, _, query = rest.partition("?")
    parameters = _parameters(query)
    if family == "sqlite":
        return _sqlite(_sqlite_path(address, base_dir), parameters)
    return _server(backend, port, address, parameters)


def _parameters(query: str) -> dict:
    if "@" in query:  # then what looks like parameters may be the rest of a password
        raise _refused("has an @ behind a ?: write a ? in the password as %3F, and an @ in a parameter as %40")
    pairs = parse_qsl(query, keep_blank_values=True)
    parameters = dict(pairs)
    if len(pairs) > len(parameters):
        raise _refused("gives a parameter twice: give each once")
    return parameters


def _sqlite_path(address: str, base_dir: Path) -> Path:
    if address and not address.startswith("/"):
        raise _refused("has two slashes: a relative SQLite path has three (sqlite:///app.db), an absolute one four")
    name = _decoded(address[1:])
    if not name or ":memory:" in name:
        raise _refused("names a database in memory, which web and workers can't share: write sqlite:///app.db")
    if name.startswith("file:") or "\0" in name:
        raise _refused("names no plain file: write sqlite:///app.db or sqlite:////folder/app.db")
    path = base_dir / Path(name).expanduser()
    if name.endswith("/") or path.is_dir():
        raise _refused("names a folder: add the name of the SQLite file")
    return path


def _sqlite(path: Path, parameters: dict) -> dict:
    pragmas = {"journal_mode": "WAL", "synchronous": "NORMAL"}
    for name, choices in SQLITE_PRAGMAS.items():
        pragmas[name] = parameters.pop(name, pragmas[name]).upper()
        if pragmas[name] not in choices:
            raise _refused(f"has an unusable {name}: write one of {_listed(choices)}")
    timeout = _typed("timeout", parameters.pop("timeout", "20"), float)
    parameters.pop("check_same_thread", None)  # SQLAlchemy's habit, of no meaning here
    _refuse(parameters, {*SQLITE_PRAGMAS, "timeout"})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"The folder of the SQLite database can't be made ({error.strerror}): {path.parent}. "
            "Make it, or set DATA_DIR or DATABASE_URL to another place."
        ) from None
    return {
        "ENGINE": "aiworkflow_project.db.sqlite",
        "NAME": str(path),
        "CONN_MAX_AGE": None,  # opening the file and setting its pragmas costs more than most requests do
        "OPTIONS": {
            "timeout": timeout,
            # Without it, transactions that read first fail at once with "database is locked" under load.
            "transaction_mode": "IMMEDIATE",
            "init_command": "".join(f"PRAGMA {name}={value};" for name, value in pragmas.items())
            + "PRAGMA journal_size_limit=67108864;",
        },
    }


def _server(backend: str, port: int, address: str, parameters: dict) -> dict:
    # At the last "@": a password may hold one. A "/" in it is tolerated for the same reason.
    credentials, _, location = address.rpartition("@")
    user, _, password = credentials.partition(":")
    place, _, name = location.partition("/")
    if not name or "/" in name:
        raise _refused("must end in the name of one database: scheme://user:password@host:port/name")
    host, port_text = _host_and_port(place)
    settings = {
        "ENGINE": backend,
        "NAME": _decoded(name),
        "USER": _decoded(user),
        "PASSWORD": _decoded(password),
        "HOST": _decoded(host),
        "PORT": _typed("port", port_text, int) if port_text else port,
        "CONN_MAX_AGE": _typed("conn_max_age", parameters.pop("conn_max_age", "600"), int),
        "CONN_HEALTH_CHECKS": True,
    }
    if not 0 < settings["PORT"] < 65536:
        raise _refused("has an unusable port: write a number from 1 to 65535")
    known = POSTGRESQL_OPTIONS if backend.endswith("postgresql") else MYSQL_OPTIONS
    options = {key: _typed(key, parameters.pop(key), known[key]) for key in list(parameters) if key in known}
    _refuse(parameters, {*known, "conn_max_age"})
    options = _mysql_options(options) if known is MYSQL_OPTIONS else POSTGRESQL_DEFAULTS | options
    return settings | {"OPTIONS": options}


def _host_and_port(place: str) -> tuple[str, str]:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _refused("has an unusable address: write [address]:port around one of IPv6")
        return host, rest[1:]
    host, _, port = place.partition(":")
    if ":" in port:
        raise _refused("has more than one : in the host: write [::1]:port around an address of IPv6")
    return host, port


def _mysql_options(options: dict) -> dict:
    if options.get("charset", "utf8mb4").lower() not in MYSQL_CHARSETS:
        raise _refused("has an unusable charset: leave it out, for utf8mb4 is always used")
    options["charset"] = "utf8mb4"  # nothing less holds all of Chinese and emoji
    tls = {key.removeprefix("ssl_"): options.pop(key) for key in ("ssl_ca", "ssl_cert", "ssl_key") if key in options}
    return options | {"ssl": tls} if tls else options


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _refused("has a %-sequence that is not UTF-8: write a % itself as %25") from None


def _typed(name: str, value: str, kind: type):
    if kind is str:
        return value
    try:
        number = kind(value)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        raise _refused(f"has an unusable {name}: write a number")
    return number


def _refuse(parameters: dict, known: set) -> None:
    if parameters:
        raise _refused(
            f"has unknown parameters: {_listed(parameters)}. Known are {_listed(known)}. "
            "A ? in the password is written %3F"
        )


def _refused(what: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{NAME} {what}.")


def _listed(words) -> str:
    return ", ".join(sorted(words))
