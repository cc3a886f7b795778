"""A definition that is edited, deactivated or deleted while its job runs, and releases that run side by side."""

from tests.faults.promises import kept, page
from tests.faults.test_processes import pipeline
from tests.journeys.conftest import COMPONENTS
from tests.journeys.site import wait_for


def start(site, name: str) -> tuple[dict, dict]:
    definition = site.define(name, pipeline("Sleeper"))
    job = site.submit(definition, {"seconds": 2})
    wait_for(lambda: site.steps(job), what="the step")
    return definition, job


def completed(site, job) -> None:
    [done] = kept(site, [job])
    assert (done["status_str"], done["attempt_int"]) == ("completed", 1)
    assert done["result_data_json"] == {"it": {"slept": 2.0}}
    assert "slept" in page(site, done)


def test_a_job_keeps_the_revision_that_it_was_submitted_with(site):
    definition, job = start(site, "edited")
    waiting = site.submit(definition, {"seconds": 2})

    changed = site.api.patch(
        f"/ai_workflow_def/{definition['id']}", json={"hs_yaml_content": pipeline("Raiser"), "version_str": "2"}
    )

    assert changed.status_code == 200, changed.text
    for accepted in (job, waiting):
        completed(site, accepted)
    [done] = kept(site, [site.submit(definition, {"message": "now"})])
    assert done["error_code_str"] == "component_failed"


def test_jobs_of_a_deactivated_definition_end_and_no_new_one_is_accepted(site):
    definition, job = start(site, "deactivated")

    changed = site.api.patch(f"/ai_workflow_def/{definition['id']}", json={"is_active_flag": False})

    assert changed.status_code == 200, changed.text
    refused = site.api.post(
        "/ai_workflow_job", json={"ai_workflow_def_id": definition["id"], "trigger_data_json": {"seconds": 0}}
    )
    assert refused.status_code in (400, 409, 422)
    completed(site, job)


def test_jobs_of_a_deleted_definition_end(site):
    definition, job = start(site, "deleted")

    assert site.api.delete(f"/ai_workflow_def/{definition['id']}").status_code == 204

    completed(site, job)


def test_jobs_that_a_deleted_definition_held_end(site):
    definition = site.define("held", pipeline("Sleeper"))
    address = f"/ai_workflow_def/{definition['id']}"
    assert site.api.patch(address, json={"concurrency_limit_int": 0}).status_code == 200
    job = site.submit(definition, {"seconds": 2})

    assert site.job(job)["waits_for_str"] == "room"

    assert site.api.delete(address).status_code == 204

    completed(site, job)


NEWER = """
from django.db import connection
from jobs.models import Job, JobEvent
from workflows.models import WorkflowRevision
with connection.cursor() as cursor:
    for table in ("ai_workflow_job", "ai_workflow_job_step", "ai_workflow_job_event", "ai_workflow_worker"):
        cursor.execute(f"ALTER TABLE {table} ADD COLUMN of_a_newer_release varchar(10) NOT NULL DEFAULT 'new'")
for revision in WorkflowRevision.objects.all():
    described = revision.description | {"of_a_newer_release": {"a": 1}, "format": 1}
    described["workflow"] = {**described.get("workflow", {}), "of_a_newer_release": True}
    WorkflowRevision.objects.filter(pk=revision.pk).update(description=described)
"""


def test_a_worker_of_this_release_finishes_a_job_of_a_newer_one(new_site):
    """Migrations only add what has a default in the database: so a release may be rolled out machine by machine."""
    site = new_site(PIPELINE_COMPONENTS=COMPONENTS)
    definition, job = start(site, "rolling")

    site.manage("shell", "--no-imports", "-c", NEWER)

    completed(site, job)
    [done] = kept(site, [site.submit(definition, {"seconds": 0.1})])
    assert done["status_str"] == "completed"
