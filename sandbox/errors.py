"""Every refusal of the HSM, with where its status, code and text come from.

*recorded*: seen in traffic of the real service. *documented*: the rule is in the vendor's documentation, the
text is modelled on the sister service Key Vault. *assumed*: neither; chosen so that a client sees a plausible
answer. Messages end in ``(Activity ID: <guid>)``, which the wire layer appends: the answer's request id.
"""


class HsmError(Exception):
    """A refusal: HTTP ``status``, vendor ``code`` and the ``message`` without its activity id."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def bad_parameter(message: str) -> HsmError:
    """400, recorded for bad names, missing kty and exportable keys without a release policy."""
    return HsmError(400, "BadParameter", message)


def invalid_name() -> HsmError:
    """400, recorded."""
    return bad_parameter("Invalid key identifier or name")


def not_supported(action: str) -> HsmError:
    """400, recorded: an action that this service or api-version does not know."""
    return HsmError(400, "NotSupported", f"action '{action}' not supported")


def bad_rotation_policy(reason: str) -> HsmError:
    """400, documented rules (28 days at least, no notifications); code and text assumed."""
    return bad_parameter(f"Invalid rotation policy: {reason}")


def no_rotation_policy() -> HsmError:
    """400, documented rule (rotation on demand needs a policy); code and text assumed."""
    return bad_parameter("A rotation policy must be set before the key can be rotated")


def missing_api_version() -> HsmError:
    """400, documented: every request needs an api-version."""
    return bad_parameter("api-version must be specified")


def unknown_api_version(version: str) -> HsmError:
    """400, documented; the text is Key Vault's."""
    return bad_parameter(f"The specified version ({version}) is not recognized")


def key_not_found(url: str) -> HsmError:
    """404, recorded for live and for deleted keys; ``url`` names the collection that was searched."""
    return HsmError(404, "KeyNotFound", f"Key not found: {url}")


def route_not_found(path: str) -> HsmError:
    """404, assumed."""
    return HsmError(404, "NotFound", f"Resource not found: {path}")


def method_not_allowed(method: str) -> HsmError:
    """405, assumed."""
    return HsmError(405, "MethodNotAllowed", f"Method {method} is not allowed on this resource")


def access_denied(action: str, scope: str) -> HsmError:
    """403; code and text from a public report of the service's answer, status documented."""
    return HsmError(403, "AccessDenied", f"Not authorized to access {action} on {scope}")


def name_is_soft_deleted(name: str) -> HsmError:
    """409, documented rule (the name stays taken until purged); the text is Key Vault's."""
    return HsmError(
        409,
        "Conflict",
        f"Key {name} is currently in a deleted but recoverable state, and its name cannot be reused; "
        "in this state, the key can only be recovered or purged.",
    )


def name_is_live(name: str) -> HsmError:
    """409, documented rule (nothing is restored over a live key); the text is modelled on Key Vault's."""
    return HsmError(
        409, "Conflict", f"Conflict while restoring key {name}: a key with this name already exists"
    )


def foreign_backup() -> HsmError:
    """400, recorded."""
    return HsmError(
        400,
        "MalformedBackupBlob",
        "Backup blob belongs to a different crypto domain and cannot be used with this instance.",
    )


def corrupt_backup() -> HsmError:
    """400; code recorded, the text is Key Vault's."""
    return HsmError(400, "MalformedBackupBlob", "Backup blob is corrupt.")


def purge_protected() -> HsmError:
    """403, documented rule; code and text assumed."""
    return HsmError(
        403, "Forbidden", 'Operation "purge" is not allowed: purge protection is enabled for this HSM'
    )


def operation_blocked(operation: str, state: str) -> HsmError:
    """403, documented rule (disabled, expired, not yet valid keys do not sign); the text is Key Vault's."""
    return HsmError(403, "Forbidden", f"Operation {operation} is not allowed on {state} key.")


def operation_not_permitted(operation: str) -> HsmError:
    """403, documented rule (key_ops); the text is Key Vault's."""
    return HsmError(403, "Forbidden", f"Operation {operation} is not permitted on this key.")


def too_many(what: str, limit: int) -> HsmError:
    """403, documented limits of keys, versions and roles; status, code and text assumed."""
    return HsmError(403, "Forbidden", f"The HSM holds the largest number of {what} allowed ({limit})")


def unknown_hsm(host: str) -> HsmError:
    """421, the sandbox's own: a real client would not have found an address for this name."""
    return HsmError(
        421, "UnknownHsm", f"This sandbox serves no HSM named {host}; start it with --hostname {host}"
    )


def role_object_not_found(kind: str, name: str) -> HsmError:
    """404, assumed."""
    return HsmError(404, f"Role{kind.capitalize()}NotFound", f"Role {kind} {name} not found")


def role_assignment_exists() -> HsmError:
    """409, assumed."""
    return HsmError(409, "RoleAssignmentExists", "The role assignment already exists")


def invalid_scope() -> HsmError:
    """400; code and text from a public report of the service's answer."""
    return HsmError(400, "Invalidkeyidentifier", "Invalid key identifier")


def bad_role(reason: str) -> HsmError:
    """400, documented rules (built-in roles stay, roles are made at /); code and text assumed."""
    return bad_parameter(f"Invalid role definition: {reason}")
