"""The people of a crash test: they ask for operations without pause, and look at everything at the end.

Run as ``python -m tests.crash.driver --seed N --stop FILE`` in the environment of a stack, role web. It
creates a source in backup & restore mode over the stack's sandbox and walks several keys at once through
create → delete → purge → restore → backup → delete → … until FILE exists, waits until nothing is under way,
compares the database with the HSM (through the unmodified SDK), and prints one JSON report as its last line.
"""

import argparse
import base64
import hashlib
import json
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import django

KEYS_AT_ONCE = 6
SETTLE_SECONDS = 120.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--stop", type=Path, required=True)
    parser.add_argument("--credentials", type=Path, required=True)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keymanager.settings")
    django.setup()
    credentials = json.loads(options.credentials.read_text())
    people = People(random.Random(options.seed), credentials)
    people.work(options.stop)
    unsettled = people.settle()
    report = {"unsettled": unsettled, **people.restore_and_sign_everything(), **look(credentials)}
    sys.stdout.write(json.dumps(report) + "\n")


class People:
    """Several keys, each walked through its life by requests; never more than one under way per key."""

    def __init__(self, rng: random.Random, credentials: dict[str, Any]) -> None:
        from audit.actors import Actor

        self.rng = rng
        self.actor = Actor.command("crash test")
        self.source = self._make_source(credentials)
        self.made = 0

    def _make_source(self, credentials: dict[str, Any]) -> Any:
        from django.utils import timezone

        from cryptosources.providers.api import ProviderKind
        from cryptosources.services.sources import SourceSettings, create_source
        from secretstore.secret import Secret

        entered = SourceSettings(
            friendly_name="Crash",
            kind=ProviderKind.AZURE_MANAGED_HSM,
            dns_name=credentials["address"],
            token_endpoint=credentials["token_endpoint"],
            application_id=credentials["application_id"],
            key=Secret(credentials["secret"]),
            backup_restore=True,
            trusted_roots=Path(credentials["ca_file"]).read_text(),
        )
        return create_source(entered=entered, active=True, actor=self.actor, now=timezone.now())

    def work(self, stop: Path) -> None:
        """Keep every key busy until the file exists."""
        from keys.models import KeyOperation

        busy: list[Any] = [self._generate() for _ in range(KEYS_AT_ONCE)]
        while not stop.exists():
            under_way = set(KeyOperation.objects.under_way().values_list("pk", flat=True))
            busy = [op if op.pk in under_way else self._next(op.key_id) for op in busy]
            time.sleep(0.02)

    def _generate(self) -> Any:
        from django.utils import timezone

        from cryptosources.providers.algorithms import KeyAlgorithm
        from keys.services import requests

        self.made += 1
        return requests.generate_key(
            source=self.source,
            name=f"crash-{self.made}",
            algorithm=KeyAlgorithm.EC_P256,
            actor=self.actor,
            now=timezone.now(),
        )

    def _next(self, key_id: Any) -> Any:
        """The next thing in this key's life; now and then it is left in peace and a new one made."""
        from django.utils import timezone

        from keys.lifecycle import OperationKind, Residency
        from keys.models import ManagedKey
        from keys.services import requests

        key = ManagedKey.objects.get(pk=key_id)
        if self.rng.random() < 0.25 or key.where not in _NEXT:
            return self._generate()
        if key.where is Residency.DELETED:
            return requests.request_purge(key=key, typed_name=key.name, actor=self.actor, now=timezone.now())
        kind = OperationKind(self.rng.choice(_NEXT[key.where]))
        return requests.request_operation(key=key, kind=kind, actor=self.actor, now=timezone.now())

    def settle(self) -> int:
        """Wait until nothing is under way; how many operations did not end in time."""
        from keys.models import KeyOperation

        deadline = time.monotonic() + SETTLE_SECONDS
        while KeyOperation.objects.under_way().exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        return KeyOperation.objects.under_way().count()

    def restore_and_sign_everything(self) -> dict[str, Any]:
        """Bring every key back and sign with it: the last proof that none is lost."""
        from django.utils import timezone

        from cryptosources.providers.algorithms import SignatureAlgorithm
        from cryptosources.providers.signatures import signature_is_valid
        from keys.lifecycle import OperationKind, OperationState, Residency
        from keys.models import KeyOperation, ManagedKey
        from keys.services import requests

        back = {Residency.ABSENT: OperationKind.RESTORE, Residency.DELETED: OperationKind.RECOVER}
        asked = []
        for key in ManagedKey.objects.filter(residency__in=[r.value for r in back]):
            asked.append(
                requests.request_operation(
                    key=key, kind=back[key.where], actor=self.actor, now=timezone.now()
                )
            )
        self.settle()
        digest = hashlib.sha256(b"still here").digest()
        signatures = [
            requests.request_signature(
                key=key,
                algorithm=SignatureAlgorithm.ES256,
                digest=digest,
                label="",
                actor=self.actor,
                now=timezone.now(),
            )
            for key in ManagedKey.objects.filter(residency=Residency.RESIDENT)
        ]
        self.settle()
        verified = 0
        for operation in KeyOperation.objects.filter(
            pk__in=[s.pk for s in signatures], state=OperationState.SUCCEEDED
        ):
            version = operation.key.versions.get(version=operation.result["version"])
            verified += signature_is_valid(
                public_key_der=bytes(version.public_key_der),
                digest=digest,
                signature=base64.b64decode(operation.result["signature"]),
                algorithm=SignatureAlgorithm.ES256,
            )
        return {"brought_back": len(asked), "keys": self.made, "verified": verified}


_NEXT: dict[Any, list[str]] = {
    "resident": ["delete", "delete", "delete", "backup"],
    "deleted": ["purge"],
    "absent": ["restore"],
}


def look(credentials: dict[str, Any]) -> dict[str, Any]:
    """What the database says, and what the HSM says to an ordinary client."""
    from audit.models import AuditRecord
    from keys.models import KeyBackup, KeyOperation, ManagedKey

    live, deleted, versions = hsm_contents(credentials)
    recorded = {key.name: key for key in ManagedKey.objects.all()}
    resident = {name for name, key in recorded.items() if key.residency == "resident"}
    ended = Counter(
        (record.details["operation"], record.outcome)
        for record in AuditRecord.objects.filter(action__startswith="key.")
    )
    operations = list(KeyOperation.objects.values("pk", "kind", "state", "error"))
    return {
        "operations": Counter(operation["kind"] for operation in operations),
        "failed": [
            f"{operation['kind']}: {operation['error']}"
            for operation in operations
            if operation["state"] == "failed"
        ],
        "residencies": Counter(key.residency for key in recorded.values()),
        "faults": [key.fault for key in recorded.values() if key.fault],
        "only_in_hsm": sorted(live - resident),
        "only_on_record": sorted(resident - live),
        "soft_deleted_in_hsm": sorted(deleted),
        "keys_with_several_versions": sorted(name for name, count in versions.items() if count != 1),
        "audited_once": all(
            ended[str(operation["pk"]), "requested"] == 1 and ended[str(operation["pk"]), "succeeded"] == 1
            for operation in operations
        ),
        "backups": KeyBackup.objects.count(),
        "unverified_backups": KeyBackup.objects.filter(proof="").count(),
    }


def hsm_contents(credentials: dict[str, Any]) -> tuple[set[str], set[str], dict[str, int]]:
    """Live names, soft-deleted names, versions per live name: from the SDK, not from our provider."""
    from azure.identity import ClientSecretCredential
    from azure.keyvault.keys import KeyClient

    credential = ClientSecretCredential(
        credentials["tenant"],
        credentials["application_id"],
        credentials["secret"],
        authority=credentials["authority"],
        disable_instance_discovery=True,
        connection_verify=credentials["ca_file"],
    )
    client = KeyClient(
        credentials["address"],
        credential,
        verify_challenge_resource=False,
        connection_verify=credentials["ca_file"],
    )
    live = {key.name for key in client.list_properties_of_keys() if key.name}
    deleted = {key.name for key in client.list_deleted_keys() if key.name}
    versions = {name: len(list(client.list_properties_of_key_versions(name))) for name in live}
    return live, deleted, versions


if __name__ == "__main__":
    main()
