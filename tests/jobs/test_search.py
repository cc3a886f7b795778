"""The search by name finds what it found without an index, wherever there is one and where there is none."""

from unittest import mock

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from accounts.models import Workspace
from jobs import search
from jobs.models import Job
from workflows.models import Workflow, WorkflowRevision

# Letters whose case has surprises, marks of the two query languages, and ordinary ones.
LETTERS = "abAB 问答äÄßẞıİiIKkſsΣσςДд%_\\\"'*^🍣"
names = st.text(LETTERS, max_size=8)


class SearchTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.workspace, _ = Workspace.objects.get_or_create(
            pk=Workspace.DEFAULT_ID, defaults={"name": "Default", "slug": "default"}
        )
        cls.workflow = Workflow.objects.create(workspace=cls.workspace, name="w")
        cls.revision = WorkflowRevision.objects.create(
            workflow=cls.workflow, number=1, content_hash="x", pipeline_yaml="", description={}
        )

    @given(made=st.lists(names, max_size=6), renamed=names, part=names)
    def test_what_the_index_finds_is_what_icontains_finds(self, made, renamed, part):
        Job.objects.all().delete()
        jobs = [self._job(name) for name in made]
        for job in jobs[:1]:
            job.rename(renamed)
        for job in jobs[1:2]:
            job.delete()

        for sought in (part, renamed, *made, *(name[1:-1] for name in made)):
            expected = set(Job.objects.filter(name__icontains=sought))
            assert set(Job.objects.named_like(sought)) == expected, sought

    @given(made=st.lists(names, min_size=2, max_size=6))
    def test_nor_do_words_that_are_not_sought(self, made):
        """Whichever of its words a text is sought by."""
        Job.objects.all().delete()
        for name in made:
            self._job(name)

        sought = f"{made[0]} {made[1]}"
        self._job(f"x{sought}y")
        words = search._words(sought)
        for some in (words[0::2], words[1::2]):
            with mock.patch.object(search, "_rare_words", return_value=some):
                assert set(Job.objects.named_like(sought)) == set(Job.objects.filter(name__icontains=sought))

    def _job(self, name):
        return Job.objects.create(
            workspace=self.workspace, workflow=self.workflow, revision=self.revision, name=name, trigger_data={},
            timeout_seconds=1, max_attempts=1,
        )  # fmt: skip


def plan_of(text: str) -> str:
    return Job.objects.named_like(text).explain()


@pytest.mark.django_db
@pytest.mark.parametrize(("text", "uses"), [("batch", True), ("人工智", True), ("问答", False), ("ÄPFEL", False)])
def test_a_search_reads_the_index_of_trigrams_where_it_can(make_job, text, uses):
    if connection.vendor not in ("sqlite", "postgresql"):
        assert "trigrams" not in plan_of(text)
        return
    make_job(name="batch 7 人工智能问答 Äpfel")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        uses = True  # in any case of any alphabet; whether two characters are sought by it is the planner's affair

    assert ("trigrams" in plan_of(text)) == uses
    assert Job.objects.named_like(text).count() == 1


@pytest.mark.django_db
def test_what_very_many_names_contain_is_sought_without_the_index(make_job, monkeypatch):
    monkeypatch.setattr(search, "COUNT_AT_MOST", 1)
    jobs = {make_job(name="batch 1"), make_job(name="batch 2")}

    assert set(Job.objects.named_like("batch")) == jobs
    if connection.vendor == "sqlite":
        assert "trigrams" not in plan_of("batch")
