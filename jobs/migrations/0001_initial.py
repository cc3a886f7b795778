import datetime
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
        ("workflows", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("name", models.CharField(max_length=120, primary_key=True, serialize=False, verbose_name="name")),
                ("processes", models.PositiveSmallIntegerField(verbose_name="processes")),
                ("places", models.PositiveIntegerField(verbose_name="places")),
                ("started_at", models.DateTimeField(verbose_name="started")),
                ("last_seen_at", models.DateTimeField(verbose_name="last seen")),
            ],
            options={
                "verbose_name": "worker",
                "verbose_name_plural": "workers",
                "db_table": "ai_workflow_worker",
            },
        ),
        migrations.CreateModel(
            name="JobBatch",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(blank=True, default="", max_length=255, verbose_name="name")),
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
                    ),
                ),
                (
                    "workflow",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="workflows.workflow",
                        verbose_name="workflow",
                    ),
                ),
                (
                    "workspace",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.workspace"
                    ),
                ),
            ],
            options={
                "verbose_name": "batch",
                "verbose_name_plural": "batches",
                "db_table": "ai_workflow_job_batch",
            },
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(blank=True, default="", max_length=255, verbose_name="name")),
                ("trigger_data", workflows.fields.JSONTextField(verbose_name="trigger data")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("running", "running"),
                            ("completed", "completed"),
                            ("failed", "failed"),
                            ("cancelled", "cancelled"),
                        ],
                        default="pending",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("result", workflows.fields.JSONTextField(null=True, verbose_name="result")),
                ("error_code", models.CharField(blank=True, default="", max_length=40, verbose_name="error code")),
                ("error_message", workflows.fields.AnyTextField(blank=True, default="", verbose_name="error")),
                ("request_id", models.CharField(blank=True, default="", max_length=64, verbose_name="request id")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="created"),
                ),
                (
                    "updated_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="changed"),
                ),
                ("started_at", models.DateTimeField(editable=False, null=True, verbose_name="started")),
                ("completed_at", models.DateTimeField(editable=False, null=True, verbose_name="completed")),
                ("execution_seconds", models.FloatField(editable=False, null=True, verbose_name="duration")),
                (
                    "priority",
                    models.PositiveSmallIntegerField(
                        db_default=5,
                        default=5,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(9),
                        ],
                        verbose_name="priority",
                    ),
                ),
                (
                    "timeout_seconds",
                    models.PositiveIntegerField(
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(86400),
                        ],
                        verbose_name="time limit",
                    ),
                ),
                ("attempt", models.PositiveSmallIntegerField(default=0, verbose_name="attempt")),
                (
                    "max_attempts",
                    models.PositiveSmallIntegerField(
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(10),
                        ],
                        verbose_name="attempts at most",
                    ),
                ),
                (
                    "retry_on",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=255, verbose_name="tried again after"
                    ),
                ),
                (
                    "waits_for",
                    models.CharField(
                        choices=[
                            ("worker", "a worker"),
                            ("time", "its time"),
                            ("room", "room within its workflow's limit"),
                        ],
                        db_default="worker",
                        default="worker",
                        max_length=10,
                        verbose_name="waits for",
                    ),
                ),
                (
                    "available_at",
                    models.DateTimeField(
                        db_default=datetime.datetime(2000, 1, 1, 0, 0, tzinfo=datetime.UTC),
                        default=django.utils.timezone.now,
                        verbose_name="not before",
                    ),
                ),
                ("spared_attempts", models.PositiveSmallIntegerField(default=0, editable=False)),
                ("lease_token", models.UUIDField(editable=False, null=True)),
                ("lease_expires_at", models.DateTimeField(editable=False, null=True)),
                ("worker_name", models.CharField(blank=True, default="", max_length=120, verbose_name="worker")),
                (
                    "cancel_requested_at",
                    models.DateTimeField(editable=False, null=True, verbose_name="cancel asked for"),
                ),
                ("event_seq", models.PositiveIntegerField(default=1, editable=False)),
                ("steps_pruned", models.BooleanField(editable=False, null=True)),
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
                    "retry_of",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="retries",
                        to="jobs.job",
                        verbose_name="retry of",
                    ),
                ),
                (
                    "revision",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="jobs",
                        to="workflows.workflowrevision",
                        verbose_name="revision",
                    ),
                ),
                (
                    "workflow",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="jobs",
                        to="workflows.workflow",
                        verbose_name="workflow",
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
                (
                    "batch",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="jobs",
                        to="jobs.jobbatch",
                        verbose_name="batch",
                    ),
                ),
            ],
            options={
                "verbose_name": "job",
                "verbose_name_plural": "jobs",
                "db_table": "ai_workflow_job",
            },
        ),
        migrations.CreateModel(
            name="JobEvent",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("seq", models.PositiveIntegerField()),
                (
                    "kind",
                    models.CharField(choices=[("state", "State"), ("step", "Step"), ("token", "Token")], max_length=10),
                ),
                ("data", workflows.fields.JSONTextField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "job",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="jobs.job",
                    ),
                ),
            ],
            options={
                "db_table": "ai_workflow_job_event",
            },
        ),
        migrations.CreateModel(
            name="JobStep",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("attempt", models.PositiveSmallIntegerField(verbose_name="attempt")),
                ("position", models.PositiveIntegerField(verbose_name="position")),
                ("component", models.CharField(max_length=255, verbose_name="component")),
                ("component_type", models.CharField(max_length=255, verbose_name="type")),
                ("visit", models.PositiveIntegerField(default=1, verbose_name="visit")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("running", "running"),
                            ("completed", "completed"),
                            ("failed", "failed"),
                            ("stopped", "stopped"),
                        ],
                        default="running",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("started_at", models.DateTimeField(verbose_name="started")),
                ("completed_at", models.DateTimeField(null=True, verbose_name="completed")),
                ("execution_seconds", models.FloatField(null=True, verbose_name="duration")),
                ("input_preview", workflows.fields.JSONTextField(null=True, verbose_name="input")),
                ("output_preview", workflows.fields.JSONTextField(null=True, verbose_name="output")),
                ("error_message", workflows.fields.AnyTextField(blank=True, default="", verbose_name="error")),
                (
                    "job",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="steps", to="jobs.job"
                    ),
                ),
            ],
            options={
                "verbose_name": "step",
                "verbose_name_plural": "steps",
                "db_table": "ai_workflow_job_step",
            },
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "-created_at", "-id"], name="job_by_age"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "status", "-created_at", "-id"], name="job_by_status"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "workflow", "-created_at", "-id"], name="job_by_workflow"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                fields=["workflow", "status", "waits_for", "-priority", "available_at", "id"], name="job_for_room"
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workflow", "steps_pruned", "completed_at"], name="job_to_prune"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "-updated_at", "-id"], name="job_by_change"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "-completed_at", "-id"], name="job_by_end"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["status", "waits_for", "-priority", "available_at", "id"], name="job_ready"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "-started_at", "-id"], name="job_by_start"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "-execution_seconds", "-id"], name="job_by_duration"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "-name", "-id"], name="job_by_name"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "-status", "-id"], name="job_by_state"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                fields=["workspace", "workflow", "status", "-created_at", "-id"], name="job_by_workflow_status"
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["status", "lease_expires_at"], name="job_lease"),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("lease_expires_at__isnull", False), ("lease_token__isnull", False), ("status", "running")
                    ),
                    models.Q(
                        models.Q(("status", "running"), _negated=True),
                        ("lease_expires_at", None),
                        ("lease_token", None),
                    ),
                    _connector="OR",
                ),
                name="a_running_job_has_a_lease",
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("completed_at", None), ("status__in", ["pending", "running"])),
                    models.Q(("completed_at__isnull", False), ("status__in", ["completed", "failed", "cancelled"])),
                    _connector="OR",
                ),
                name="a_job_that_is_over_has_an_end",
            ),
        ),
        migrations.AddConstraint(
            model_name="jobevent",
            constraint=models.UniqueConstraint(fields=("job", "seq"), name="one_event_per_number"),
        ),
        migrations.AddConstraint(
            model_name="jobstep",
            constraint=models.UniqueConstraint(fields=("job", "attempt", "position"), name="one_step_per_position"),
        ),
    ]
