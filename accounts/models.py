"""Who may do what: people, the workspace that owns every row, and the API keys of machines."""

import hashlib
import hmac
import secrets
import uuid
from datetime import datetime, timedelta

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from aiworkflow_project.db.prepared import Prepared


class User(AbstractUser):
    """A person who signs in. Our own class from the first migration, since it can't be swapped in later."""

    class Meta(AbstractUser.Meta):
        db_table = "accounts_user"


class WorkspaceManager(models.Manager):
    def default(self) -> "Workspace":
        """The workspace that the first migration makes, and that a single team never leaves."""
        return self.get(pk=Workspace.DEFAULT_ID)


class Workspace(models.Model):
    """The team that owns rows; names are unique and lists are counted within it."""

    DEFAULT_ID = uuid.UUID("00000000-0000-4000-8000-000000000001")  # fixed, so that no request has to look it up

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=100)
    slug = models.SlugField(_("slug"), max_length=50, unique=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects = WorkspaceManager()

    class Meta:
        verbose_name = _("workspace")
        verbose_name_plural = _("workspaces")

    def __str__(self):
        return self.name


class ApiKeyQuerySet(models.QuerySet):
    def usable(self, now: datetime | None = None):
        """Keys that still open the door: neither revoked nor expired, and their owner is active."""
        return self.filter(revoked_at=None, user__is_active=True).filter(
            models.Q(expires_at=None) | models.Q(expires_at__gt=now or timezone.now())
        )

    def matching(self, secret: str) -> "ApiKey | None":
        """The usable key that `secret` is, or None."""
        candidate = _of_prefix.first(secret[: ApiKey.PREFIX_LENGTH], timezone.now())
        if candidate and hmac.compare_digest(candidate.secret_hash, ApiKey.hash_of(secret)):
            return candidate
        return None


class ApiKey(models.Model):
    """A named, expiring secret with which a machine acts as its owner; only its hash is kept.

    A plain SHA-256 is enough: the secret is 32 random bytes, so there is nothing to guess.
    """

    MARK = "aiwf_"  # lets secret scanners, and our own authentication, tell a key from a JWT
    PREFIX_LENGTH = len(MARK) + 8

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="+", verbose_name=_("workspace"))
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys", verbose_name=_("owner"))
    name = models.CharField(_("name"), max_length=100)
    prefix = models.CharField(_("begins with"), max_length=PREFIX_LENGTH, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")

    def __str__(self):
        return f"{self.name} ({self.prefix}…)"

    @staticmethod
    def hash_of(secret: str) -> str:
        return hashlib.sha256(secret.encode()).hexdigest()

    def issue(self) -> str:
        """Give this unsaved key a new secret, save it, and return the secret: the only time it is seen."""
        secret = self.MARK + secrets.token_hex(4) + secrets.token_urlsafe(32)
        self.prefix = secret[: self.PREFIX_LENGTH]
        self.secret_hash = self.hash_of(secret)
        self.save(force_insert=True)
        return secret

    def note_use(self) -> None:
        """Remember that the key was used, at most once a minute: a busy client must not write on every call."""
        now = timezone.now()
        if self.last_used_at is None or (now - self.last_used_at).total_seconds() > 60:
            self.last_used_at = now
            ApiKey.objects.filter(pk=self.pk).update(last_used_at=now)

    def revoke(self) -> None:
        ApiKey.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=timezone.now())
        self.refresh_from_db()
        self.save(update_fields=["revoked_at"])  # the same once more: to save is heard of, and an update is not


_of_prefix = Prepared(
    lambda prefix, now: ApiKey.objects.usable(now).select_related("user").filter(prefix=prefix)[:1],
    ApiKey._meta.get_field("prefix"),
    ApiKey._meta.get_field("expires_at"),
)


class KeptAnswer(models.Model):
    """The first answer to a request with an Idempotency-Key, kept for a day at least."""

    KEPT = timedelta(days=1)

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    location = models.CharField(max_length=500, blank=True, default="")
    body = models.TextField()
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        db_table = "accounts_kept_answer"
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="one_answer_per_key")]

    def __str__(self):
        return self.key
