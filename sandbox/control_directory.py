"""The control API's part for what an application has in the directory: certificates and owners."""

from typing import Any

from sandbox.certificates import Certificate
from sandbox.directory import App, Directory, from_timestamp

Json = dict[str, object]


def act(directory: Directory, app: App, asked: list[str], body: dict[str, Any]) -> Json:
    """Carry out ``METHOD, kind[, key id]``. Raises LookupError for the unknown, ValueError for bad values."""
    match asked:
        case ["GET", "certificates"]:
            return {"certificates": [_show(item) for item in directory.certificates.of(app.application_id)]}
        case ["POST", "certificates"]:
            pem, name = str(body.get("certificate", "")), str(body.get("display_name") or "")
            return _show(directory.certificates.add(app.application_id, pem, name))
        case ["DELETE", "certificates", key_id]:
            return {"removed": directory.certificates.remove(key_id)}
        case ["POST", "owners"]:
            directory.graph_rights.add_owner(app.application_id, _owner(directory, body).object_id)
            return {"application_id": app.application_id}
        case ["DELETE", "owners"]:
            directory.graph_rights.remove_owner(app.application_id, _owner(directory, body).object_id)
            return {"application_id": app.application_id}
    raise LookupError("/".join(asked))


def _owner(directory: Directory, body: dict[str, Any]) -> App:
    wanted = str(body.get("owner", ""))
    found = directory.app(wanted)
    if found is None:
        raise LookupError(wanted)
    return found


def _show(certificate: Certificate) -> Json:
    return {
        "key_id": certificate.key_id,
        "display_name": certificate.display_name,
        "thumbprint": certificate.thumbprint().hex().upper(),
        "start": from_timestamp(certificate.start_at).isoformat(),
        "end": from_timestamp(certificate.end_at).isoformat(),
    }
