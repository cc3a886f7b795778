import uuid

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import workflows.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Workflow",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=255, verbose_name="name")),
                (
                    "description",
                    models.TextField(
                        blank=True,
                        max_length=1000,
                        null=True,
                        validators=[django.core.validators.MaxLengthValidator(1000)],
                        verbose_name="description",
                    ),
                ),
                ("version", models.CharField(default="1.0.0", max_length=50, verbose_name="version")),
                ("is_active", models.BooleanField(default=True, verbose_name="active")),
                (
                    "tags",
                    models.CharField(
                        blank=True, default="", help_text="Separated by commas.", max_length=500, verbose_name="tags"
                    ),
                ),
                (
                    "concurrency_limit",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="Further jobs wait. 0 holds them all; empty is no limit.",
                        null=True,
                        validators=[django.core.validators.MaxValueValidator(10000)],
                        verbose_name="jobs at once",
                    ),
                ),
                (
                    "keep_jobs_days",
                    models.PositiveIntegerField(
                        blank=True,
                        null=True,
                        validators=[django.core.validators.MaxValueValidator(36500)],
                        verbose_name="keep finished jobs for",
                    ),
                ),
                (
                    "keep_steps_days",
                    models.PositiveIntegerField(
                        blank=True,
                        null=True,
                        validators=[django.core.validators.MaxValueValidator(36500)],
                        verbose_name="keep their steps and events for",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="created"),
                ),
                (
                    "updated_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="changed"),
                ),
                ("deleted_at", models.DateTimeField(editable=False, null=True, verbose_name="deleted")),
                ("holds_name", models.BooleanField(default=True, editable=False, null=True)),
                (
                    "created_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="created by",
                    ),
                ),
                (
                    "workspace",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.workspace",
                        verbose_name="workspace",
                    ),
                ),
            ],
            options={
                "verbose_name": "workflow",
                "verbose_name_plural": "workflows",
                "db_table": "ai_workflow_def",
            },
        ),
        migrations.CreateModel(
            name="WorkflowRevision",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField(verbose_name="number")),
                ("content_hash", models.CharField(max_length=64, verbose_name="content hash")),
                ("pipeline_yaml", models.TextField(verbose_name="pipeline YAML")),
                ("description", workflows.fields.JSONTextField(verbose_name="description")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="created"),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="created by",
                    ),
                ),
                (
                    "workflow",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="revisions",
                        to="workflows.workflow",
                        verbose_name="workflow",
                    ),
                ),
            ],
            options={
                "verbose_name": "revision",
                "verbose_name_plural": "revisions",
                "db_table": "ai_workflow_revision",
            },
        ),
        migrations.AddField(
            model_name="workflow",
            name="current_revision",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="workflows.workflowrevision",
                verbose_name="current revision",
            ),
        ),
        migrations.AddConstraint(
            model_name="workflowrevision",
            constraint=models.UniqueConstraint(fields=("workflow", "content_hash"), name="one_revision_per_text"),
        ),
        migrations.AddConstraint(
            model_name="workflowrevision",
            constraint=models.UniqueConstraint(fields=("workflow", "number"), name="one_revision_per_number"),
        ),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(fields=["workspace", "-updated_at", "-id"], name="workflow_by_change"),
        ),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(fields=["workspace", "-created_at", "-id"], name="workflow_by_age"),
        ),
        migrations.AddConstraint(
            model_name="workflow",
            constraint=models.UniqueConstraint(
                fields=("workspace", "name", "version", "holds_name"),
                name="one_workflow_per_version",
                violation_error_message="There is already a workflow of this name and version.",
            ),
        ),
        migrations.AddConstraint(
            model_name="workflow",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("deleted_at", None), ("holds_name", True)),
                    models.Q(("deleted_at__isnull", False), ("holds_name", None)),
                    _connector="OR",
                ),
                name="a_deleted_workflow_frees_its_name",
            ),
        ),
    ]
