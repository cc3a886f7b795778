"""What holds after every fault: nothing lost, nothing run twice at once, no final state changed, a reason to read."""

import html
import itertools
import json
import re

import httpx

from tests.journeys.site import FINAL, PASSWORD, USERNAME

MOVES = {("pending", "running"), ("running", "pending"), *(("running", end) for end in FINAL), ("pending", "cancelled")}


def kept(site, jobs, witness=None, *, seconds: float = 60) -> list[dict]:
    """Waits until the jobs are over, checks all that must hold of each whatever happened, and returns their rows."""
    done = [site.finished(job, seconds) for job in jobs]
    for job in done:
        told = events(site, job)
        states = [data for _seq, kind, data in told if kind == "state"]
        assert [seq for seq, _kind, _data in told] == list(range(1, len(told) + 1))
        names = [data["status_str"] for data in states]
        assert names[0] == "pending"
        assert all(move in MOVES for move in itertools.pairwise(names)), names
        assert (names[-1], states[-1]["attempt_int"]) == (job["status_str"], job["attempt_int"])
        attempts = [data["attempt_int"] for data in states if data["status_str"] == "running"]
        assert attempts == list(range(1, len(attempts) + 1))
        assert all(step["status_str"] != "running" for step in site.steps(job))
    if witness:
        assert witness.twice_at_once == []
    assert [site.job(job) for job in jobs] == done
    return done


def events(site, job) -> list[tuple[int, str, dict]]:
    """All events of a job that is over."""
    text = site.api.get(f"/ai_workflow_job/{job['id']}/events").text
    found = re.findall(r"^id: (\d+)\nevent: (\w+)\ndata: (.*)$", text, re.MULTILINE)
    return [(int(seq), kind, json.loads(data)) for seq, kind, data in found]


def page(site, job) -> str:
    """What the job's page in the admin says, without its markup."""
    with httpx.Client(base_url=site.address, follow_redirects=True, timeout=30) as browser:
        browser.get("/admin/login/")
        signed_in = browser.post(
            "/admin/login/?next=/admin/",
            data={"username": USERNAME, "password": PASSWORD, "csrfmiddlewaretoken": browser.cookies["csrftoken"]},
            headers={"Referer": site.address},
        )
        assert signed_in.status_code == 200
        answer = browser.get(f"/admin/jobs/job/{job['id']}/change/")
    assert answer.status_code == 200, answer.text[:500]
    return html.unescape(re.sub(r"<[^>]*>", "", answer.text))
