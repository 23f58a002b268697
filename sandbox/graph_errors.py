"""Refusals of the directory's own API, Microsoft Graph: statuses, codes and texts.

From public reports of real answers, but for what is called assumed.
"""


class GraphError(Exception):
    """HTTP ``status``, Graph's ``code`` and ``message``."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def invalid_token(reason: str) -> GraphError:
    return GraphError(401, "InvalidAuthenticationToken", reason)


def denied() -> GraphError:
    return GraphError(
        403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."
    )


def not_found(name: str) -> GraphError:
    text = (
        f"Resource '{name}' does not exist or one of its queried reference-property objects are not present."
    )
    return GraphError(404, "Request_ResourceNotFound", text)


def unknown_segment(segment: str) -> GraphError:
    return GraphError(400, "BadRequest", f"Resource not found for the segment '{segment}'.")


def wrong_method(method: str) -> GraphError:
    """Code recorded in public reports, text assumed."""
    return GraphError(405, "Request_BadRequest", f"The method {method} is not allowed on this resource.")


def unknown_property(name: str) -> GraphError:
    text = f"Could not find a property named '{name}' on type 'microsoft.graph.application'."
    return GraphError(400, "BadRequest", text)


def unsupported_query(what: str) -> GraphError:
    return GraphError(400, "Request_UnsupportedQuery", f"Unsupported or invalid query: {what}.")


def bad_request(message: str) -> GraphError:
    """Texts assumed."""
    return GraphError(400, "Request_BadRequest", message)


def unknown_password() -> GraphError:
    return bad_request("No password credential found with keyId.")
