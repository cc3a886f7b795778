"""What a workflow is: a named, versioned pipeline, and the immutable revisions of its YAML."""

import hashlib
import uuid
from functools import lru_cache

from django.conf import settings
from django.core.validators import MaxLengthValidator, MaxValueValidator
from django.db import models
from django.db.models.functions import Concat, NullIf
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from workflows.fields import JSONTextField


def split_tags(text: str) -> list[str]:
    """The tags in a comma separated text, without blanks and repeats, in their order."""
    return list(dict.fromkeys(tag.strip() for tag in text.split(",") if tag.strip()))


class WorkflowQuerySet(models.QuerySet):
    def kept(self):
        """Those that nobody deleted."""
        return self.filter(deleted_at=None)

    def active(self):
        return self.kept().filter(is_active=True)

    def in_workspace(self, workspace):
        return self.filter(workspace=workspace)

    def named_like(self, text: str):
        return self.filter(name__icontains=text)

    def tagged(self, *tags: str):
        """Those that bear every one of `tags`, each as a whole tag: RAG does not find RAGGED."""
        found = self.alias(fenced_tags=Concat(models.Value(","), "tags", models.Value(",")))
        for tag in tags:
            found = found.filter(fenced_tags__contains=f",{tag},")
        return found


class Workflow(models.Model):
    """A stored definition. Its YAML lives in `current_revision`; deleting it only hides it.

    Jobs that ran keep their workflow and their revision, whatever happens here.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(
        "accounts.Workspace", on_delete=models.PROTECT, related_name="+", db_index=False, verbose_name=_("workspace")
    )
    name = models.CharField(_("name"), max_length=255)
    description = models.TextField(
        _("description"), null=True, blank=True, max_length=1000, validators=[MaxLengthValidator(1000)]
    )
    version = models.CharField(_("version"), max_length=50, default="1.0.0")
    is_active = models.BooleanField(_("active"), default=True)
    tags = models.CharField(_("tags"), max_length=500, blank=True, default="", help_text=_("Separated by commas."))
    # Not in the YAML: whoever operates the service throttles a workflow, or holds it, without a new revision.
    concurrency_limit = models.PositiveSmallIntegerField(
        _("jobs at once"),
        null=True,
        blank=True,
        validators=[MaxValueValidator(10_000)],
        help_text=_("Further jobs wait. 0 holds them all; empty is no limit."),
    )
    current_revision = models.ForeignKey(
        "WorkflowRevision", on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("current revision")
    )
    # How many days after its end a job is kept, and its steps and events: 0 keeps them for ever, null as the site does.
    keep_jobs_days = models.PositiveIntegerField(
        _("keep finished jobs for"), null=True, blank=True, validators=[MaxValueValidator(settings.RETENTION_MOST_DAYS)]
    )
    keep_steps_days = models.PositiveIntegerField(
        _("keep their steps and events for"),
        null=True,
        blank=True,
        validators=[MaxValueValidator(settings.RETENTION_MOST_DAYS)],
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("created by")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now, editable=False)
    deleted_at = models.DateTimeField(_("deleted"), null=True, editable=False)
    # True, or NULL once deleted: NULLs are distinct in a unique constraint on every database,
    # where a conditional constraint is dropped in silence on MySQL and MariaDB.
    holds_name = models.BooleanField(null=True, default=True, editable=False)

    objects = WorkflowQuerySet.as_manager()

    class Meta:
        db_table = "ai_workflow_def"
        verbose_name = _("workflow")
        verbose_name_plural = _("workflows")
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "name", "version", "holds_name"],
                name="one_workflow_per_version",
                violation_error_message=_("There is already a workflow of this name and version."),
            ),
            models.CheckConstraint(
                condition=models.Q(deleted_at=None, holds_name=True)
                | models.Q(deleted_at__isnull=False, holds_name=None),
                name="a_deleted_workflow_frees_its_name",
            ),
        ]
        indexes = [
            models.Index(fields=["workspace", "-updated_at", "-id"], name="workflow_by_change"),
            models.Index(fields=["workspace", "-created_at", "-id"], name="workflow_by_age"),
        ]

    def __str__(self):
        return f"{self.name} {self.version}"

    def delete(self, using=None, keep_parents=False):
        """Hide the workflow and free its name; its revisions and jobs stay, and those that wait will run.

        Also those that it holds, for nobody could let them go later: a limit of 0 ends with it.
        """
        now = timezone.now()
        Workflow.objects.filter(pk=self.pk, deleted_at=None).update(
            deleted_at=now,
            updated_at=now,
            holds_name=None,
            is_active=False,
            concurrency_limit=NullIf("concurrency_limit", 0),
        )
        self.refresh_from_db()


class WorkflowRevision(models.Model):
    """One immutable text of a workflow's YAML, known by its content hash: the same text is the same revision."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workflow = models.ForeignKey(
        Workflow, on_delete=models.PROTECT, related_name="revisions", db_index=False, verbose_name=_("workflow")
    )
    number = models.PositiveIntegerField(_("number"))
    content_hash = models.CharField(_("content hash"), max_length=64)
    pipeline_yaml = models.TextField(_("pipeline YAML"))
    # What the engine found in the text: inputs, outputs, components, connections. See engine/description.py.
    description = JSONTextField(_("description"))
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("created by")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        db_table = "ai_workflow_revision"
        verbose_name = _("revision")
        verbose_name_plural = _("revisions")
        constraints = [
            models.UniqueConstraint(fields=["workflow", "content_hash"], name="one_revision_per_text"),
            models.UniqueConstraint(fields=["workflow", "number"], name="one_revision_per_number"),
        ]

    def __str__(self):
        return f"r{self.number}"

    @staticmethod
    @lru_cache(maxsize=64)
    def known(pk: uuid.UUID) -> "WorkflowRevision":
        """The revision, in memory for the next who asks: it never changes. It is shared: nobody may change it."""
        return WorkflowRevision.objects.get(pk=pk)

    @staticmethod
    def hash_of(pipeline_yaml: str) -> str:
        return hashlib.sha256(pipeline_yaml.encode()).hexdigest()
