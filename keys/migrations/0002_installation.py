"""Give this installation its identity: one row, made once."""

from django.db import migrations


def make(apps, schema_editor):
    installation = apps.get_model("keys", "Installation")
    if not installation.objects.exists():
        installation.objects.create()


class Migration(migrations.Migration):
    dependencies = [("keys", "0001_initial")]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
