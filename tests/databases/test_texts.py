"""Text is compared, searched and kept in the same way on every database."""

import pytest
from django.db import IntegrityError, transaction

from accounts.models import User, Workspace
from jobs.models import Job
from workflows.models import Workflow

pytestmark = pytest.mark.django_db

ALIKE = ["abc", "ABC", "Abc", "äbc", "ａｂｃ", "🍣", "🍺", "ハハ", "パパ", "は", "ハ", "ss", "ß", "e", "é"]


def test_names_that_only_look_alike_are_different(make_workflow):
    for name in ALIKE:
        make_workflow(name=name)

    for name in ALIKE:
        assert Workflow.objects.get(name=name).name == name
    assert Workflow.objects.filter(name__in=["abc", "🍣"]).count() == 2


def test_a_trailing_blank_makes_another_name_and_another_version(make_workflow):
    make_workflow(name="a", version="1")
    make_workflow(name="a ", version="1")

    assert [found.name for found in Workflow.objects.filter(name="a ")] == ["a "]
    assert not Workflow.objects.filter(version="1 ").exists()


def test_the_same_name_is_refused(make_workflow):
    make_workflow(name="🍣", version="1")

    with pytest.raises(IntegrityError), transaction.atomic():
        make_workflow(name="🍣", version="1")


def test_signing_in_heeds_the_case_of_the_name(make_user):
    make_user("Wei")
    make_user("wei")

    assert User.objects.get_by_natural_key("wei").username == "wei"
    assert User.objects.filter(username="WEI").first() is None


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Äpfel und Birnen", "ÄPF"),
        ("Äpfel und Birnen", "äPFEL"),
        ("Привет", "ПРИ"),
        ("CAFÉ", "café"),
        ("Ωmega", "ωM"),
        ("Plain", "pLAI"),
        ("人工智能问答", "智能"),
        ("寿司🍣店", "🍣店"),
        ("100%_done\\", "%_DONE\\"),
    ],
)
def test_a_part_of_a_name_is_found_in_any_case(make_workflow, make_job, name, part):
    workflow = make_workflow(name=name)
    job = make_job(workflow=workflow, name=name)
    make_workflow(name="something else")

    assert list(Workflow.objects.named_like(part)) == [workflow]
    assert list(Job.objects.named_like(part)) == [job]


@pytest.mark.parametrize("part", ["🍺", "apf", "ＰＬ", "a%l", "a_fel", "Ä\\"])
def test_a_part_that_is_not_there_is_not_found(make_workflow, part):
    for name in ("寿司🍣", "Äpfel", "Plain"):
        make_workflow(name=name)

    assert not Workflow.objects.named_like(part).exists()


def test_a_tag_is_found_in_its_own_case(make_workflow):
    upper = make_workflow(tags="RAG,Größe")
    lower = make_workflow(tags="rag,größe")

    assert list(Workflow.objects.tagged("RAG")) == list(Workflow.objects.tagged("Größe")) == [upper]
    assert list(Workflow.objects.tagged("rag", "größe")) == [lower]


def test_a_slug_is_found_in_its_own_case():
    Workspace.objects.create(name="甲", slug="Team")
    Workspace.objects.create(name="乙", slug="team")

    assert Workspace.objects.get(slug="team").name == "乙"
