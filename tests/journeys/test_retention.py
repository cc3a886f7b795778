"""Retention as a site does it by itself: what is old is gone after a while, what is young stays."""

import httpx

from tests.journeys.site import wait_for
from tests.journeys.test_start import PIPELINE

AGE = """
from datetime import timedelta
from django.utils import timezone
from jobs.models import Job
Job.objects.filter(pk="{}").update(completed_at=timezone.now() - timedelta(days={}))
"""


def test_a_running_site_deletes_what_is_old_and_still_tells_the_end_of_what_it_keeps(new_site):
    site = new_site()
    definition = site.define("保留", PIPELINE)
    young, middle, old = (site.finished(site.submit(definition, {"name": name})) for name in "一二三")
    site.stop()
    for job, days in ((middle, 8), (old, 31)):
        assert site.command("shell", "--no-imports", "-c", AGE.format(job["id"], days)).wait(60) == 0

    site.start()

    wait_for(lambda: site.api.get(f"/ai_workflow_job/{old['id']}").status_code == 404, 60, "the old job to go")
    wait_for(lambda: site.job(middle)["steps_pruned_flag"], 60, "the steps to go")
    assert site.job(middle)["result_data_json"] == middle["result_data_json"]
    assert site.steps(middle) == []
    assert len(site.steps(young)) == 1
    assert not site.job(young)["steps_pruned_flag"]

    told = follow(site, middle)
    assert told.count("id: ") == 1
    assert '"status_str":"completed"' in told
    assert told.count("id: ") < follow(site, young).count("id: ")


def follow(site, job) -> str:
    """The whole stream, which ends by itself."""
    headers = {**site.api.headers, "Accept": "text/event-stream"}
    return httpx.get(f"{site.api.base_url}ai_workflow_job/{job['id']}/events", headers=headers, timeout=30).text
