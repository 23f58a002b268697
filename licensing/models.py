"""Installed licences. The one installed last is in force; the earlier ones stay as history."""

from django.db import models


class Licence(models.Model):
    """A signed licence as installed.

    Only ``token`` counts: it is verified at every use. The other columns are a copy for people to read.
    """

    token = models.TextField(editable=False)
    licence_id = models.CharField("licence number", max_length=100)
    customer = models.CharField(max_length=200)
    features = models.JSONField(default=list)
    not_before = models.DateTimeField("starts")
    not_after = models.DateTimeField("ends")
    installed_at = models.DateTimeField()
    installed_by = models.CharField(max_length=200)

    class Meta:
        ordering = ("-id",)
        default_permissions = ("add", "view")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(not_after__gt=models.F("not_before")), name="licence_ends_after_it_starts"
            )
        ]

    def __str__(self) -> str:
        return f"{self.customer} ({self.licence_id})"
