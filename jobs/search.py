"""Finding jobs by a part of their name without reading all names: by trigrams, where the database has such an index.

What is found is what `icontains` finds, on every database; the index only tells where to look. PostgreSQL's (pg_trgm)
serves `icontains` by itself. SQLite's (FTS5) is a table of its own, kept by triggers, that has to be asked.

Not made by a migration, but after each (`ensure`): a role may be allowed to make it later, and a migration that makes
SQLite's table of jobs anew drops its triggers without a word.
"""

import logging
import re

from django.db import DatabaseError, connections, transaction
from django.db.models import F, Q
from django.db.models.expressions import RawSQL

from aiworkflow_project.db.counts import COUNT_AT_MOST, Counting
from aiworkflow_project.db.steering import Hidden, sorted_sooner

logger = logging.getLogger(__name__)

JOBS = "ai_workflow_job"
LEAST = 3  # characters: what is shorter has no trigram
WORDS_AT_MOST = 10  # that are thought about
MANY = 100  # a word that is in one name of so many is one that many have

POSTGRESQL_INDEX = f"CREATE INDEX IF NOT EXISTS job_name_trigrams ON {JOBS} USING gin (UPPER(name::text) gin_trgm_ops)"

# The names have numbers of their own: those that SQLite gives to the rows of jobs change when a file is vacuumed.
SQLITE_TABLES = (
    "CREATE TABLE job_name (number INTEGER PRIMARY KEY, job_id char(32) NOT NULL UNIQUE, name varchar(255) NOT NULL)",
    "CREATE VIRTUAL TABLE job_name_trigrams USING fts5(name, content='job_name', content_rowid='number', "
    "tokenize='trigram')",
)
SQLITE_TRIGGERS = {
    "job_name_kept": "AFTER INSERT ON job_name BEGIN "
    "INSERT INTO job_name_trigrams(rowid, name) VALUES (new.number, new.name); END",
    "job_name_left": "AFTER DELETE ON job_name BEGIN "
    "INSERT INTO job_name_trigrams(job_name_trigrams, rowid, name) VALUES ('delete', old.number, old.name); END",
    "job_was_made": f"AFTER INSERT ON {JOBS} WHEN new.name <> '' BEGIN "
    "INSERT INTO job_name(job_id, name) VALUES (new.id, new.name); END",
    "job_was_renamed": f"AFTER UPDATE OF name ON {JOBS} WHEN new.name <> old.name BEGIN "
    "DELETE FROM job_name WHERE job_id = old.id; "
    "INSERT INTO job_name(job_id, name) SELECT new.id, new.name WHERE new.name <> ''; END",
    "job_was_deleted": f"AFTER DELETE ON {JOBS} BEGIN DELETE FROM job_name WHERE job_id = old.id; END",
}
_THERE = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name IN ({})".format(
    ", ".join(f"'{name}'" for name in SQLITE_TRIGGERS)
)
_FOUND = "SELECT rowid FROM job_name_trigrams WHERE job_name_trigrams MATCH %s"


def ensure(using: str, **_) -> None:
    """Make the index where it is missing and can be made. Says so in the log where it can't: searches then read all."""
    connection = connections[using]
    make = {"postgresql": _ensure_postgresql, "sqlite": _ensure_sqlite}.get(connection.vendor)
    if make is None or JOBS not in connection.introspection.table_names():
        return
    try:
        with transaction.atomic(using):
            make(connection)
    except DatabaseError as error:
        logger.warning("Jobs are searched by name without an index, for it can't be made: %s", str(error).strip())


def _ensure_postgresql(connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        cursor.execute(POSTGRESQL_INDEX)


def _ensure_sqlite(connection) -> None:
    if _is_there(connection):
        return
    with connection.cursor() as cursor:
        for name in SQLITE_TRIGGERS:
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
        for table in ("job_name_trigrams", "job_name"):
            cursor.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in SQLITE_TABLES:
            cursor.execute(statement)
        cursor.execute(f"INSERT INTO job_name(job_id, name) SELECT id, name FROM {JOBS} WHERE name <> ''")
        cursor.execute("INSERT INTO job_name_trigrams(job_name_trigrams) VALUES ('rebuild')")
        for name, body in SQLITE_TRIGGERS.items():
            cursor.execute(f"CREATE TRIGGER {name} {body}")


def _is_there(connection) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_THERE)
        return cursor.fetchone() == (len(SQLITE_TRIGGERS),)


def named_like(queryset, text: str):
    """The jobs of `queryset` whose name contains `text`, in any case.

    On SQLite it asks the index at once. What many names contain is found sooner without it. On PostgreSQL, which takes
    the longer the more names a trigram is in, words that are known to be in many are not sought, but looked at.
    """
    found = queryset.filter(name__icontains=text)
    connection = connections[queryset.db]
    if connection.vendor == "postgresql" and (rare := _rare_words(queryset.model.objects.using(queryset.db), text)):
        found = queryset.alias(whole=Hidden(F("name"))).filter(whole__icontains=text)
        return found.filter(*(Q(name__icontains=word) for word in rare))
    if connection.vendor != "sqlite" or not _has_trigrams(text) or not _is_there(connection):
        return found
    phrase = '"{}"'.format(text.replace('"', '""'))
    few = min(sorted_sooner(queryset), COUNT_AT_MOST)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({_FOUND} LIMIT {few + 1})", [phrase])
        if cursor.fetchone()[0] > few:
            return found
    return found.filter(pk__in=RawSQL(f"SELECT job_id FROM job_name WHERE number IN ({_FOUND})", [phrase]))


def _rare_words(jobs, text: str) -> list[str]:
    """Those words of a text by which its trigrams are best sought: nothing, where that is all of it."""
    words = _words(text)[:WORDS_AT_MOST]
    if len(words) < 2:
        return []
    many = Counting(jobs).guessed() / MANY
    rare = [word for word in words if Counting(jobs.filter(name__icontains=word)).guessed() < many]
    return rare if len(rare) < len(words) else []


def _words(text: str) -> list[str]:
    """The words of a text that have trigrams, with the blanks around them."""
    words = [text[max(word.start() - 1, 0) : word.end() + 1] for word in re.finditer(r"\S+", text)]
    return [word for word in words if len(word) >= LEAST]


def _has_trigrams(text: str) -> bool:
    """Whether the index finds all that `icontains` finds: their notions of case are one in ASCII and without case."""
    return len(text) >= LEAST and "\0" not in text and (text.isascii() or text.lower() == text.upper())
