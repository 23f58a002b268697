"""The record in words: actions, outcomes, subjects and details, as people read them.

This room knows none of the others: what their actions are called and where their pages are stands here as
plain text. An action or a detail that is not listed is shown under its own name.
"""

from dataclasses import dataclass
from typing import Final

from audit.actors import ActorKind
from audit.models import Outcome


@dataclass(frozen=True, slots=True)
class OutcomeWords:
    """A badge: its kind, its icon and its word."""

    badge: str
    icon: str
    text: str


OUTCOMES: Final = {
    Outcome.REQUESTED: OutcomeWords("info", "clock", "Requested"),
    Outcome.SUCCEEDED: OutcomeWords("ok", "check", "Succeeded"),
    Outcome.FAILED: OutcomeWords("bad", "cross", "Failed"),
    Outcome.REFUSED: OutcomeWords("warn", "lock", "Refused"),
}

ACTOR_KINDS: Final = {
    ActorKind.PERSON: "Person",
    ActorKind.SYSTEM: "System",
    ActorKind.COMMAND: "Command",
}
WHO: Final = {
    ActorKind.PERSON: "People",
    ActorKind.SYSTEM: "The system",
    ActorKind.COMMAND: "Commands",
}

#: What each kind of action is about: the first part of its name.
GROUPS: Final = {
    "key": "Keys",
    "source": "Crypto sources",
    "person": "People and sign-in",
    "licence": "Licence",
    "audit": "Audit record",
    "secrets": "Sealing keys",
}
ACTIONS: Final = {
    "key.generate": "Generate a key",
    "key.sign": "Sign",
    "key.backup": "Back up a key",
    "key.rotate": "Rotate a key (new version)",
    "key.delete": "Delete a key (recoverable)",
    "key.recover": "Recover a deleted key",
    "key.purge": "Purge a key (permanent)",
    "key.restore": "Restore a key from its backup",
    "key.update": "Change a key's validity or tags",
    "source.created": "Create a crypto source",
    "source.updated": "Change a crypto source",
    "source.activated": "Activate a crypto source",
    "source.deactivated": "Deactivate a crypto source",
    "source.deleted": "Delete a crypto source",
    "source.test.requested": "Ask for a connection test",
    "source.test.finished": "Test a connection",
    "source.test_key.created": "Create a connection test's key",
    "source.test_key.removed": "Remove a connection test's key",
    "source.test_key.left": "Fail to remove a connection test's key",
    "source.test_key.removal_requested": "Ask to remove a connection test's key",
    "person.sign_in": "Sign in",
    "person.sign_out": "Sign out",
    "person.lock": "Lock out after failed sign-ins",
    "person.unlock": "Unlock after failed sign-ins",
    "person.created": "Add a person",
    "person.changed": "Change a person",
    "person.password": "Change a password",
    "licence.installed": "Install a licence",
    "audit.export": "Export audit records",
    "secrets.moved": "Move secrets to the newest sealing key",
}


@dataclass(frozen=True, slots=True)
class SubjectKind:
    """What a record may be about. ``types`` are the spellings in the record; ``page`` the URL that shows one.

    ``model`` (``app.Model``) tells whether it still exists; ``permission`` who may open its page.
    """

    slug: str
    label: str
    plural: str
    types: tuple[str, ...]
    model: str = ""
    page: str = ""
    permission: str = ""


SUBJECTS: Final = (
    SubjectKind(
        "key",
        "Key",
        "Keys",
        ("managed key",),
        "keys.ManagedKey",
        "admin:keys_managedkey_change",
        "keys.view_managedkey",
    ),
    SubjectKind(
        "source",
        "Crypto source",
        "Crypto sources",
        ("crypto source", "cryptosource"),  # the second in records of early versions
        "cryptosources.CryptoSource",
        "admin:cryptosources_cryptosource_page",
        "cryptosources.view_cryptosource",
    ),
    SubjectKind(
        "person", "Person", "People", ("person",), "auth.User", "admin:auth_user_change", "auth.view_user"
    ),
    SubjectKind(
        "licence",
        "Licence",
        "Licences",
        ("licence",),
        "licensing.Licence",
        "admin:licensing_licence_change",
        "licensing.view_licence",
    ),
    SubjectKind("sealing-key", "Sealing key", "Sealing keys", ("sealing key",)),
    SubjectKind("audit", "Audit record", "Audit records", ("audit record",)),
)
#: The operation that a record's details name.
OPERATION: Final = SubjectKind(
    "operation",
    "Operation",
    "Operations",
    (),
    "keys.KeyOperation",
    "admin:keys_keyoperation_change",
    "keys.view_keyoperation",
)

DETAILS: Final = {
    "operation": "Operation",
    "source": "Crypto source",
    "step": "Step",
    "retry": "Tried again by a person",
    "algorithm": "Algorithm",
    "code": "The HSM's code",
    "error": "Problem",
    "problem": "Problem",
    "reason": "Reason",
    "request_id": "The HSM's request id",
    "attempts": "Attempts",
    "override_by": "Without a verified backup, on the word of",
    "test": "Connection test",
    "test_key": "Its key in the HSM",
    "requested_by": "Asked for by",
    "failed_steps": "Failed steps",
    "features": "Enables",
    "starts": "Starts",
    "ends": "Ends",
    "roles": "Roles",
    "may_sign_in": "May sign in",
    "changes": "Changed",
    "address": "Address",
    "account": "Account",
    "repeats": "More of these from this address",
    "until": "Until",
    "format": "Format",
    "records": "Records",
    "filter": "Search and filters",
    "column": "Column",
    "values": "Values",
    "key": "Key (client secret)",
    "status": "Status",
    "friendly_name": "Friendly Name",
    "kind": "Type",
    "dns_name": "DNS Name",
    "token_endpoint": "Endpoint OAuth 2.0 Token",
    "application_id": "Application ID",
    "secret_expires_on": "Key ends on",
    "backup_restore": "Enable Key Backup & Restore",
    "keep_after_signing": "Do not instantly remove key from Azure after signing",
    "remove_after_seconds": "Remove the keys after (seconds)",
    "trusted_roots": "Trusted root certificates",
    "sign_in_method": "Sign-in method",
}


def action_words(action: str) -> str:
    """What the action is called; one not listed is spelled out of its own name."""
    return ACTIONS.get(action) or _spelled(action.partition(".")[2].replace(".", " ") or action)


def detail_words(name: str) -> str:
    return DETAILS.get(name) or _spelled(name)


def subject_kind(stored: str) -> SubjectKind:
    """The kind that a record's subject type names; a plain one for a type that is not listed."""
    found = (kind for kind in SUBJECTS if stored in kind.types)
    return next(found, SubjectKind("", _spelled(stored), _spelled(stored), (stored,)))


def subject_of_slug(slug: str) -> SubjectKind | None:
    return next((kind for kind in SUBJECTS if kind.slug == slug), None)


def _spelled(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]
