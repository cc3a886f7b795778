"""The forms that DATABASE_URL takes, what is refused, and that no refusal tells a password."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from aiworkflow_project.database_url import POSTGRESQL_DEFAULTS, parse

ROOT = Path(__file__).resolve().parent.parent
SECRET = "geheim密码"

SQLITE, POSTGRESQL, MYSQL = (
    "aiworkflow_project.db.sqlite",
    "aiworkflow_project.db.postgresql",
    "aiworkflow_project.db.mysql",
)


@pytest.fixture
def parsed(tmp_path):
    def parse_here(url: str) -> dict:
        return parse(url, default=tmp_path / "var" / "site.sqlite3", base_dir=tmp_path)

    return parse_here


# SQLite


def test_without_a_url_it_is_sqlite_in_the_default_file_whose_folder_is_made(parsed, tmp_path):
    found = parsed("")

    assert (found["ENGINE"], found["NAME"]) == (SQLITE, str(tmp_path / "var" / "site.sqlite3"))
    assert (tmp_path / "var").is_dir()


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite3", "SQLite", "sqlite+aiosqlite", "sqlite+pysqlite"])
def test_a_relative_file_is_relative_to_the_project(parsed, tmp_path, scheme):
    assert parsed(f"{scheme}:///app.db")["NAME"] == str(tmp_path / "app.db")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("{}/数据.db", "数据.db"),
        ("{}/%E6%95%B0%E6%8D%AE.db", "数据.db"),
        ("{}/new/folder/a%20b.db", "new/folder/a b.db"),
    ],
)
def test_an_absolute_file_is_taken_as_it_is_and_its_folder_is_made(parsed, tmp_path, address, name):
    elsewhere = tmp_path / "elsewhere"

    found = parsed("sqlite:///" + address.format(elsewhere))

    assert found["NAME"] == str(elsewhere / name)
    assert (elsewhere / name).parent.is_dir()


def test_a_tilde_is_the_home_folder(parsed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert parsed("sqlite:///~/app.db")["NAME"] == str(tmp_path / "home" / "app.db")


def test_quotes_and_blanks_around_the_url_are_dropped(parsed, tmp_path):
    assert parsed(' "sqlite:///app.db"\n')["NAME"] == str(tmp_path / "app.db")


def test_sqlite_writes_ahead_waits_and_takes_the_lock_first(parsed):
    options = parsed("sqlite:///app.db")["OPTIONS"]

    assert options["timeout"] == 20
    assert options["transaction_mode"] == "IMMEDIATE"
    assert options["init_command"].startswith("PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;")


def test_sqlite_takes_a_timeout_and_pragmas_and_ignores_a_habit_of_sqlalchemy(parsed):
    options = parsed("sqlite:///a.db?timeout=2.5&synchronous=full&journal_mode=delete&check_same_thread=false")[
        "OPTIONS"
    ]

    assert options["timeout"] == 2.5
    assert options["init_command"].startswith("PRAGMA journal_mode=DELETE;PRAGMA synchronous=FULL;")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+aiosqlite:///:memory:",
        "sqlite:///%3Amemory%3A",
        "sqlite:///file::memory:",
        "sqlite:///?mode=memory",
    ],
)
def test_a_database_in_memory_is_refused(parsed, url):
    with pytest.raises(ImproperlyConfigured, match=r"in memory.*write sqlite:///app\.db"):
        parsed(url)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("sqlite://app.db", "three"),
        ("sqlite:///file:app.db", "no plain file"),
        ("sqlite:///a%00b.db", "no plain file"),
        ("sqlite:////tmp", "names a folder"),
        ("sqlite:////tmp/", "names a folder"),
        ("sqlite:////proc/self/nowhere/app.db", "Make it, or set DATA_DIR"),
        ("sqlite:///a.db?journal_mode=OFF", "DELETE, PERSIST, TRUNCATE, WAL"),
        ("sqlite:///a.db?synchronous=NORMAL;DROP", "EXTRA, FULL, NORMAL"),
        ("sqlite:///a.db?timeout=soon", "unusable timeout: write a number"),
        ("sqlite:///a.db?timeout=-1", "unusable timeout"),
        ("sqlite:///a.db?timeout=inf", "unusable timeout"),
        ("sqlite:///a.db?cache=shared", "unknown parameters: cache"),
    ],
)
def test_other_unusable_sqlite_urls_are_refused_with_what_to_write(parsed, url, hint):
    with pytest.raises(ImproperlyConfigured) as refused:
        parsed(url)

    assert hint in str(refused.value)


# Servers


@pytest.mark.parametrize(
    ("scheme", "backend", "port"),
    [
        *((scheme, POSTGRESQL, 5432) for scheme in ("postgresql", "postgres", "pgsql", "PostgreSQL")),
        *(
            (f"postgresql+{driver}", POSTGRESQL, 5432)
            for driver in ("asyncpg", "psycopg", "psycopg_async", "psycopg2", "pg8000", "aiopg")
        ),
        ("mysql", MYSQL, 3306),
        ("mariadb", MYSQL, 3306),
        *(
            (f"mysql+{driver}", MYSQL, 3306)
            for driver in ("asyncmy", "aiomysql", "pymysql", "mysqldb", "mysqlclient", "mysqlconnector")
        ),
        ("mariadb+mariadbconnector", MYSQL, 3306),
        ("mariadb+asyncmy", MYSQL, 3306),
    ],
)
def test_every_scheme_and_driver_finds_its_backend_and_port(parsed, scheme, backend, port):
    found = parsed(f"{scheme}://wei:pass@db.example.com/flow")

    assert found["ENGINE"] == backend
    assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"], found["NAME"]) == (
        "wei",
        "pass",
        "db.example.com",
        port,
        "flow",
    )


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("p%40ss", "p@ss"),
        ("%E5%AF%86%E7%A0%81", "密码"),
        ("密码", "密码"),
        ("p@ss", "p@ss"),
        ("p/ss", "p/ss"),
        ("p:ss", "p:ss"),
        ("p#ss", "p#ss"),
        ("p+s s", "p+s s"),
        ("a@b/c:d", "a@b/c:d"),
        ("p%2Fs%3Fs%25", "p/s?s%"),
        ("100%", "100%"),
        ("", ""),
    ],
)
def test_a_password_comes_out_as_it_is_meant(parsed, written, password):
    found = parsed(f"mysql+asyncmy://wei:{written}@10.0.0.1:3307/flow")

    assert found["PASSWORD"] == password
    assert (found["USER"], found["HOST"], found["PORT"], found["NAME"]) == ("wei", "10.0.0.1", 3307, "flow")


@pytest.mark.parametrize(
    ("place", "host", "port"),
    [
        ("[::1]", "::1", 5432),
        ("[2001:db8::7]:6000", "2001:db8::7", 6000),
        ("%2Frun%2Fpostgresql", "/run/postgresql", 5432),
        ("%2FRun%2FPG:6000", "/Run/PG", 6000),
        ("", "", 5432),
        ("db:", "db", 5432),
    ],
)
def test_an_address_may_be_ipv6_or_the_folder_of_a_socket(parsed, place, host, port):
    found = parsed(f"postgresql://wei@{place}/flow")

    assert (found["HOST"], found["PORT"], found["USER"], found["PASSWORD"]) == (host, port, "wei", "")


def test_a_url_without_credentials_has_none(parsed):
    found = parsed("postgresql://localhost/flow")

    assert (found["USER"], found["PASSWORD"], found["HOST"]) == ("", "", "localhost")


def test_the_name_of_the_database_is_decoded(parsed):
    assert parsed("postgresql://localhost/%E5%B7%A5%E4%BD%9C%2F1")["NAME"] == "工作/1"


def test_parameters_of_postgresql_reach_the_driver(parsed):
    found = parsed("postgresql://h/flow?sslmode=require&connect_timeout=3&options=-c%20statement_timeout%3D5s")

    assert found["OPTIONS"] == POSTGRESQL_DEFAULTS | {
        "sslmode": "require",
        "connect_timeout": 3,
        "options": "-c statement_timeout=5s",
    }
    assert found["CONN_MAX_AGE"] == 600
    assert parsed("postgresql://h/flow?conn_max_age=0")["CONN_MAX_AGE"] == 0


def test_parameters_of_mysql_reach_the_driver_and_the_charset_is_whole(parsed):
    found = parsed("mysql://h/flow?unix_socket=/run/mysqld/mysqld.sock&ssl_ca=/etc/ca.pem&charset=utf8")

    assert found["OPTIONS"] == {
        "unix_socket": "/run/mysqld/mysqld.sock",
        "charset": "utf8mb4",
        "ssl": {"ca": "/etc/ca.pem"},
    }


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("app.db", "must look like scheme://user:password@host:port/name"),
        (f"postgresql:/wei:{SECRET}@h/flow", "must look like"),
        (f"wei:{SECRET}://h/flow", "must look like"),
        (f"oracle://wei:{SECRET}@h/flow", "write one of mariadb, matrixone, mysql, pgsql"),
        (f"elasticsearch://wei:{SECRET}@h:9200/flow", "unknown scheme 'elasticsearch'"),
        (f"postgresql+psycopg4://wei:{SECRET}@h/flow", "unknown driver 'psycopg4': write postgresql:// alone"),
        (f"postgresql+asyncmy://wei:{SECRET}@h/flow", "asyncpg"),
        (f"postgresql://wei:{SECRET}@h", "must end in the name of one database"),
        (f"postgresql://wei:{SECRET}@h/", "must end in the name of one database"),
        (f"postgresql://wei:{SECRET}@h/flow/", "must end in the name of one database"),
        (f"postgresql://wei:{SECRET}", "must end in the name of one database"),
        (f"postgresql://wei:{SECRET}@h:five/flow", "unusable port"),
        (f"postgresql://wei:{SECRET}@h:0/flow", "from 1 to 65535"),
        (f"postgresql://wei:{SECRET}@h:65536/flow", "from 1 to 65535"),
        (f"postgresql://wei:{SECRET}@::1/flow", "[::1]:port"),
        (f"postgresql://wei:{SECRET}@[::1/flow", "[address]:port"),
        (f"postgresql://wei:{SECRET}@[::1]5432/flow", "[address]:port"),
        (f"postgresql://wei:{SECRET}%FF@h/flow", "write a % itself as %25"),
        (f"postgresql://wei:{SECRET}@h/flow?sslmod=require", "unknown parameters: sslmod. Known are application_name"),
        (f"postgresql://wei:{SECRET}@h/flow?charset=utf8", "unknown parameters: charset"),
        (f"mysql://wei:{SECRET}@h/flow?sslmode=require", "unknown parameters: sslmode"),
        (f"mysql://wei:{SECRET}@h/flow?charset=gbk", "utf8mb4 is always used"),
        (f"mysql://wei:{SECRET}@h/flow?connect_timeout=soon", "unusable connect_timeout: write a number"),
        (f"mysql://wei:{SECRET}@h/flow?conn_max_age=-1", "unusable conn_max_age"),
        (f"mysql://wei:{SECRET}@h/flow?connect_timeout=1&connect_timeout=2", "give each once"),
        (f"mysql://wei:a?{SECRET}@h/flow", "%3F"),
        (f"mysql://wei:1/a?{SECRET}@h/flow", "%3F"),
        (f"mysql://wei:1/a?x={SECRET}&y@h/flow", "%3F"),
    ],
)
def test_unusable_urls_are_refused_with_what_to_write_and_never_with_the_password(parsed, url, hint):
    with pytest.raises(ImproperlyConfigured) as refused:
        parsed(url)

    assert hint in str(refused.value)
    assert SECRET not in str(refused.value)
    assert "DATABASE_URL" in str(refused.value)


def test_the_command_line_says_it_in_one_line_without_the_password(tmp_path):
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={"DATA_DIR": str(tmp_path), "DATABASE_URI": f"mongodb://wei:{SECRET}@h/flow"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "unknown scheme 'mongodb'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert SECRET not in done.stdout + done.stderr


def test_the_older_name_is_read_where_the_newer_is_not_set(tmp_path):
    def name_of(**environment) -> str:
        code = "from django.conf import settings; print(settings.DATABASES['default']['NAME'])"
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"DJANGO_SETTINGS_MODULE": "aiworkflow_project.settings", "DATA_DIR": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    old, new = f"sqlite+aiosqlite:///{tmp_path}/old.db", f"sqlite:///{tmp_path}/new.db"
    assert name_of(DATABASE_URI=old) == f"{tmp_path}/old.db"
    assert name_of(DATABASE_URI=old, DATABASE_URL=new) == f"{tmp_path}/new.db"
