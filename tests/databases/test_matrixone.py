"""matrixone:// against MariaDB behind a filter that refuses what MatrixOne refuses: see matrixone.py.

And against a real server too, where MATRIXONE_TEST_URI names an empty database of one.
"""

import os
import uuid

import pymysql
import pytest

from tests.databases.matrixone import MatrixOneLike
from tests.databases.test_servers import FILL, PIPELINE, ROUND_TRIP, claims_of_racers, manage, run, shell
from tests.journeys.site import Site

REAL = os.environ.get("MATRIXONE_TEST_URI")


@pytest.fixture
def filtered():
    """The filter, and the name of an empty database behind it."""
    name = f"test_matrixone_{uuid.uuid4().hex[:12]}"
    try:
        connection = pymysql.connect(host="127.0.0.1", user="root", password="", autocommit=True)
    except pymysql.OperationalError as error:
        pytest.skip(f"no such server on this machine: {error}")
    with connection, connection.cursor() as cursor, MatrixOneLike("127.0.0.1", 3306) as server:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        yield server, name
        cursor.execute(f"DROP DATABASE {name}")


@pytest.fixture(params=["filter", *(["real"] if REAL else [])])
def url(request):
    if request.param == "real":
        yield REAL
        return
    server, name = request.getfixturevalue("filtered")
    yield f"matrixone+asyncmy://root:@127.0.0.1:{server.port}/{name}"
    assert server.refused == []  # nothing that the server does not know was sent to it


def test_the_migrations_go_both_ways(url, tmp_path):
    manage(url, tmp_path, "migrate")
    assert "No changes" in manage(url, tmp_path, "makemigrations", "--check", "--dry-run")
    for app in ("jobs", "workflows"):
        manage(url, tmp_path, "migrate", app, "zero")
    manage(url, tmp_path, "migrate")


KEYS = """
from django.db import connection
with connection.cursor() as cursor:
    found = connection.introspection.get_constraints(cursor, "ai_workflow_job")
    assert connection.introspection.get_relations(cursor, "ai_workflow_job")["workflow_id"] == ("id", "ai_workflow_def")
assert found["PRIMARY"]["primary_key"] and found["PRIMARY"]["columns"] == ["id"]
assert ("ai_workflow_def", "id") in [one["foreign_key"] for one in found.values()]
assert found["job_ready"]["columns"] == ["status", "waits_for", "priority", "available_at", "id"]
"""


def test_keys_are_found_without_information_schema(url, tmp_path):
    manage(url, tmp_path, "migrate")

    shell(url, tmp_path, KEYS)


SEARCH = """
from accounts.models import Workspace
for slug in ("abc", "ABD", "xyz"):
    Workspace.objects.create(name=f"甲{slug}🙂", slug=slug.lower())
found = lambda **by: sorted(Workspace.objects.filter(**by).values_list("slug", flat=True))
assert found(name__icontains="AB") == ["abc", "abd"]
assert found(name__contains="AB") == ["abd"]
assert found(name__startswith="甲A") == ["abd"]
assert found(name__istartswith="甲a") == ["abc", "abd"]
assert found(name__iexact="甲ABC🙂") == ["abc"]
assert found(name="甲ABC🙂") == []
"""


def test_a_search_ignores_case_and_a_comparison_does_not(url, tmp_path):
    manage(url, tmp_path, "migrate")

    shell(url, tmp_path, SEARCH)


def test_jobs_keep_their_promises(url, tmp_path):
    manage(url, tmp_path, "migrate")
    shell(url, tmp_path, FILL)
    shell(url, tmp_path, ROUND_TRIP)
    claimed = claims_of_racers(url, tmp_path)

    assert len(claimed) == len({job for job, _ in claimed}) == 199
    assert {attempt for _, attempt in claimed} == {1}


def test_a_whole_site_runs_a_job(url, tmp_path):
    site = Site(tmp_path, DATABASE_URL=url).start()
    try:
        done = site.finished(site.submit(site.define("问候", PIPELINE), {"name": "小明"}))

        assert done["result_data_json"] == {"prompt": {"prompt": "你好，小明！🙂"}}
        assert site.steps(done)[0]["component_name_str"] == "prompt"
        with site.api.stream("GET", f"/ai_workflow_job/{done['id']}/events") as events:
            assert events.status_code == 200
    finally:
        assert site.stop() == 0


# An error swallowed inside a nested atomic().
NESTED = """
from django.db import IntegrityError, transaction
from accounts.models import Workspace
with transaction.atomic():
    Workspace.objects.create(name="outer", slug="outer")
    try:
        with transaction.atomic():
            Workspace.objects.create(name="inner", slug="default")
    except IntegrityError:
        pass
    print("found", Workspace.objects.filter(slug="outer").exists())
print("kept", Workspace.objects.filter(slug="outer").exists())
"""


def test_an_error_inside_a_nested_block_is_never_silent(filtered, tmp_path):
    server, name = filtered
    url = f"matrixone://root@127.0.0.1:{server.port}/{name}"
    manage(url, tmp_path, "migrate")

    said = run(url, tmp_path, "shell", "--no-imports", "-c", NESTED)

    assert said.returncode != 0
    assert "TransactionManagementError" in said.stderr
    assert server.refused == []


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("ROLLBACK TO SAVEPOINT a", 20101),
        ("SELECT 1 FOR UPDATE SKIP LOCKED", 1064),
        ("SELECT * FROM information_schema.check_constraints", 1064),
        ("SELECT 'a' LIKE BINARY 'a'", 1064),
        ("CREATE TABLE t (a int, CHECK (a > 0))", 1064),
    ],
)
def test_the_filter_refuses_what_matrixone_refuses(filtered, statement, code):
    server, name = filtered
    connection = pymysql.connect(host="127.0.0.1", port=server.port, user="root", password="", database=name)
    with connection, connection.cursor() as cursor:
        cursor.execute("SAVEPOINT a")
        with pytest.raises(pymysql.MySQLError) as refused:
            cursor.execute(statement)
        cursor.execute("SELECT '; SKIP LOCKED', @@sql_auto_is_null")
        assert cursor.fetchone() == ("; SKIP LOCKED", 1)

    assert refused.value.args[0] == code


def test_a_server_of_another_kind_than_the_url_says_is_refused(filtered, tmp_path):
    server, name = filtered

    for url in (f"matrixone://root@127.0.0.1:3306/{name}", f"mysql://root@127.0.0.1:{server.port}/{name}"):
        said = run(url, tmp_path, "migrate")

        assert said.returncode != 0
        assert "must say matrixone:// for a server that is MatrixOne" in said.stderr
        assert "Traceback" not in said.stderr
