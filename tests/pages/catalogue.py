"""Every page of the console in its important states: what the screenshots show and axe examines.

A new page is one line. ``path`` names objects of the scene (tests/pages/story.py) in braces; ``shows`` is a
text that stands on the page in that state and not in the frame; ``by`` is whose eyes; ``act`` is what that
person does there first. ``empty`` pages are looked at in an installation without data or licence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from playwright.sync_api import Page as BrowserPage

from tests.pages import cast

Act = Callable[[BrowserPage], None]


class By(StrEnum):
    """Whose eyes: one of the four roles, somebody without a role, or nobody yet."""

    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"
    AUDITOR = "auditor"
    OPS = "ops"
    NEWCOMER = "newcomer"
    STRANGER = ""


@dataclass(frozen=True)
class Page:
    """``status`` is the answer to the first request; ``tolerates`` what the browser may complain about."""

    name: str
    title: str
    path: str
    shows: str
    by: By = By.ADMINISTRATOR
    act: Act | None = None
    empty: bool = False
    status: int = 200
    tolerates: tuple[str, ...] = ()


# --- What a person does before the look -----------------------------------------------------------


def submit(button: str, **fields: str) -> Act:
    """Fill in fields by id and press the button, past the browser's own checks."""

    def act(page: BrowserPage) -> None:
        page.locator("form").evaluate_all("forms => forms.forEach((form) => { form.noValidate = true; })")
        for name, value in fields.items():
            page.locator(f"#id_{name}").fill(value)
        page.get_by_role("button", name=button, exact=True).click()

    return act


def open_details(summary: str) -> Act:
    return lambda page: page.locator("summary", has_text=summary).first.click()


def lose(cookie: str, then: Act) -> Act:
    """The browser forgets a cookie; then the act."""

    def act(page: BrowserPage) -> None:
        page.context.clear_cookies(name=cookie)
        then(page)

    return act


def guess_until_locked(page: BrowserPage) -> None:
    """Sign in wrongly until the console no longer asks."""
    for _ in range(10):
        if page.locator("#id_username").count():
            submit("Sign in", username="somebody", password="a guess")(page)
            page.wait_for_load_state("load")


def too_many_fields(page: BrowserPage) -> None:
    """Send more fields than Django reads."""
    page.locator("form").evaluate(
        """form => { for (let n = 0; n < 1100; n += 1) form.append(Object.assign(
            document.createElement("input"), { type: "hidden", name: `field${n}` })); }"""
    )
    submit("Sign in", username="a", password="b")(page)


def sign_in_in_dialog(page: BrowserPage) -> None:
    """Somebody else signs in where the page's own person was asked to."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Username").fill(cast.NEWCOMER.username)
    dialog.get_by_label("Password").fill(cast.NEWCOMER.password)
    dialog.get_by_role("button", name="Sign in and go on").click()


def both(first: Act, then: Act) -> Act:
    def act(page: BrowserPage) -> None:
        first(page)
        then(page)

    return act


def without_scripts(page: BrowserPage) -> None:
    """Send the page's form as a browser without scripts does."""
    page.locator("main form").evaluate("form => HTMLFormElement.prototype.submit.call(form)")


def type_digest(page: BrowserPage) -> None:
    page.get_by_label("A digest").check()


SOURCES, KEYS, OPERATIONS = "/cryptosources/cryptosource/", "/keys/managedkey/", "/keys/keyoperation/"
PEOPLE, RECORDS, LICENCE = "/auth/user/", "/audit/auditrecord/", "/licensing/licence/"
ESEAL = SOURCES + "{sources[Contoso eSeal]}/"
KEY, ARCHIVED = KEYS + "{keys[eseal-ec-p-256]}/", KEYS + "{keys[archive-2019]}/"
ENDING = KEYS + "{keys[eseal-rsa-3072]}/"
PERSON = PEOPLE + "{people[nina.berg]}/"
REFUSED = ("status of 4", "status of 5")

PAGES: Final = (
    # The door
    Page("sign-in", "Sign in", "/login/", "Sign in", By.STRANGER),
    Page(
        "sign-in-refused",
        "Sign in, refused",
        "/login/",
        "do not go together",
        By.STRANGER,
        submit("Sign in", username="nina.berg", password="a guess"),
    ),
    Page(
        "sign-in-locked",
        "Sign in, locked",
        "/login/",
        "Sign-in is locked",
        By.STRANGER,
        guess_until_locked,
        tolerates=REFUSED,
    ),
    Page(
        "sign-in-interrupted",
        "Sign in after a form was lost",
        SOURCES + "add/",
        "Your sign-in had ended",
        By.OPERATOR,
        lose("sessionid", without_scripts),
    ),
    Page(
        "session-ended",
        "A form whose session has ended",
        SOURCES + "add/",
        "Sign in again",
        By.OPERATOR,
        lose("sessionid", submit("Create crypto source", friendly_name="Contoso eSeal 2")),
    ),
    Page(
        "session-of-another",
        "A form, and somebody else has signed in",
        SOURCES + "add/",
        "Load the page again",
        By.OPERATOR,
        both(lose("sessionid", submit("Create crypto source")), sign_in_in_dialog),
    ),
    Page("password", "Change your password", "/password_change/", "Old password", By.OPERATOR),
    Page(
        "password-errors",
        "Change your password, with errors",
        "/password_change/",
        "Please look at this again",
        By.OPERATOR,
        submit("Change password", old_password="x", new_password1="short", new_password2="other"),
    ),
    Page("password-done", "Password changed", "/password_change/done/", "Use the new password", By.OPERATOR),
    # Overview
    Page("overview", "Overview", "/", "Secrets by time left"),
    Page(
        "overview-empty",
        "Overview of an empty installation",
        "/",
        "Your way to the first signature",
        empty=True,
    ),
    Page("overview-no-role", "Overview without a role", "/", "No rooms are open", By.NEWCOMER),
    Page(
        "menu",
        "The menu of the person",
        "/password_change/done/",
        "Signed in as",
        By.OPERATOR,
        open_details("Nina Berg"),
    ),
    # Crypto sources
    Page("sources", "Crypto sources", SOURCES, "Northwind archive"),
    Page("sources-reader", "Crypto sources, read only", SOURCES, "Northwind archive", By.OPS),
    Page("sources-filtered", "Crypto sources, nothing found", SOURCES + "?q=zzz", "Nothing matches"),
    Page("sources-empty", "Crypto sources, none yet", SOURCES, "No crypto source yet", empty=True),
    Page("source-new", "New crypto source", SOURCES + "add/", "Application ID", By.OPERATOR),
    Page(
        "source-new-errors",
        "New crypto source, with errors",
        SOURCES + "add/",
        "Please look at this again",
        By.OPERATOR,
        submit("Create crypto source", dns_name="https://10.0.0.1/", application_id="4711"),
    ),
    Page(
        "source-new-no-licence",
        "New crypto source without a licence",
        SOURCES + "add/",
        "not licensed",
        empty=True,
    ),
    Page("source", "A crypto source, tested", ESEAL, "The connection works"),
    Page(
        "source-failed",
        "A crypto source whose account lacks a right",
        SOURCES + "{sources[Contoso code signing]}/",
        "The test failed",
    ),
    Page(
        "source-ended",
        "A crypto source whose Key has ended",
        SOURCES + "{sources[Fabrikam invoices]}/",
        "The test failed",
    ),
    Page(
        "source-testing",
        "A connection test under way",
        SOURCES + f"{{sources[{cast.LONG}]}}/",
        "Testing…",
    ),
    Page(
        "source-untested",
        "A crypto source not yet tested",
        SOURCES + "{sources[Northwind archive]}/",
        "has not been tested yet",
        By.OPS,
    ),
    Page(
        "source-clone",
        "Clone a crypto source",
        ESEAL + "clone/",
        "Application ID",
        By.OPERATOR,
    ),
    Page("source-deactivate", "What stops with a crypto source", ESEAL + "deactivate/", "Contoso eSeal"),
    Page("source-edit", "Edit a crypto source", ESEAL + "change/", "Leave empty to keep", By.OPERATOR),
    Page(
        "source-delete",
        "Delete a crypto source?",
        SOURCES + "{sources[Northwind archive]}/delete/",
        "This cannot be undone",
        By.OPERATOR,
    ),
    Page(
        "source-delete-refused",
        "A crypto source that keys depend on",
        ESEAL + "delete/",
        "Contoso eSeal",
        By.OPERATOR,
    ),
    # Keys
    Page("keys", "Keys", KEYS, "eseal-rsa-4096", By.OPERATOR),
    Page(
        "keys-filter-open",
        "Keys, choosing a filter",
        KEYS,
        "eseal-rsa-4096",
        By.OPERATOR,
        open_details("Source"),
    ),
    Page("keys-empty", "Keys, none yet", KEYS, "No keys yet", empty=True),
    Page("key-generate", "Generate a key", KEYS + "add/", "Key type", By.OPERATOR),
    Page(
        "key-generate-errors",
        "Generate a key, with errors",
        KEYS + "add/",
        "Please look at this again",
        By.OPERATOR,
        submit("Generate key", name="not a name!"),
    ),
    Page("key", "A key in the HSM", KEY, "eseal-ec-p-256", By.OPERATOR),
    Page("key-reader", "A key, read only", KEY, "eseal-ec-p-256", By.AUDITOR),
    Page(
        "key-long-name",
        "A key with a long name",
        KEYS + "{keys[qualified-seal-of-the-finance-department-for-outgoing-invoices-2026]}/",
        "qualified-seal",
        By.OPERATOR,
    ),
    Page("key-deleted", "A deleted key", ARCHIVED, "archive-2019", By.OPERATOR),
    Page(
        "key-absent", "A key kept as a backup", KEYS + "{keys[invoices-2021]}/", "invoices-2021", By.OPERATOR
    ),
    Page("key-purged", "A purged key", KEYS + "{keys[trial-purged]}/", "trial-purged", By.OPERATOR),
    Page(
        "key-not-created",
        "A key that was never made",
        KEYS + "{keys[trial-never-created]}/",
        "trial-never-created",
        By.OPERATOR,
    ),
    Page(
        "key-faulted",
        "A key that needs a person",
        KEYS + "{keys[driver-signing]}/",
        "its public key differs",
        By.OPERATOR,
    ),
    Page(
        "key-busy",
        "A key with work under way",
        KEYS + "{keys[eseal-rsa-2048]}/",
        "eseal-rsa-2048",
        By.OPERATOR,
    ),
    Page("key-sign", "Sign a file", KEY + "sign/", "Sign with eseal-ec-p-256", By.OPERATOR),
    Page(
        "key-sign-digest",
        "Sign a digest",
        KEY + "sign/",
        "Sign with eseal-ec-p-256",
        By.OPERATOR,
        type_digest,
    ),
    Page("key-verify", "Verify a signature", KEY + "verify/", "Verify", By.OPERATOR),
    Page("key-delete", "Delete a key?", KEY + "delete/", "Delete eseal-ec-p-256?", By.OPERATOR),
    Page("key-update", "A key's validity and tags", ENDING + "update/", "Valid until", By.OPERATOR),
    Page(
        "key-update-errors",
        "A key's validity and tags, with errors",
        ENDING + "update/",
        "Please look at this again",
        By.OPERATOR,
        submit("Change validity and tags", expires_at="2001-01-01T00:00", tags="no tag"),
    ),
    Page("key-ending", "A key that ends soon, with tags", ENDING, "cost-centre", By.OPERATOR),
    Page("key-rotate", "Rotate a key?", KEY + "rotate/", "Rotate eseal-ec-p-256?", By.OPERATOR),
    Page("key-purge", "Purge a key?", ARCHIVED + "purge/", "Purge archive-2019?", By.OPERATOR),
    Page(
        "key-purge-impossible",
        "A purge that makes no sense now",
        KEY + "purge/",
        "Purge eseal-ec-p-256?",
        By.OPERATOR,
    ),
    # Operations
    Page("operations", "Operations", OPERATIONS, "eseal-rsa-4096", By.OPS),
    Page("operations-empty", "Operations, none yet", OPERATIONS, "No operations yet", empty=True),
    Page("operation", "An operation, done", OPERATIONS + "{operations[backed-up]}/", "done", By.OPERATOR),
    Page(
        "operation-running",
        "An operation under way",
        OPERATIONS + "{operations[running]}/",
        "running",
        By.OPERATOR,
    ),
    Page(
        "operation-waiting",
        "An operation that is tried again",
        OPERATIONS + "{operations[waiting]}/",
        "tried again by itself",
        By.OPERATOR,
    ),
    Page(
        "operation-failed",
        "An operation that failed",
        OPERATIONS + "{operations[failed]}/",
        "Try again",
        By.OPERATOR,
    ),
    Page(
        "operation-signature",
        "A signature",
        OPERATIONS + "{operations[signed]}/",
        "contract-4711.pdf",
        By.OPERATOR,
    ),
    Page(
        "batch", "A batch of keys, done", OPERATIONS + "batch/{batches[done]}/", "test-seal-01", By.OPERATOR
    ),
    Page(
        "batch-running",
        "A batch of keys under way",
        OPERATIONS + "batch/{batches[half]}/",
        "branch-seal-001",
        By.OPERATOR,
    ),
    # Audit
    Page("audit", "Audit", RECORDS, "archive-2019", By.AUDITOR),
    Page("audit-record", "An audit record", RECORDS + "{record}/change/", "source.created", By.AUDITOR),
    Page("audit-empty", "Audit, nothing found", RECORDS + "?q=zzz", "Nothing matches", By.AUDITOR),
    Page(
        "audit-subject",
        "Audit, all about one source",
        RECORDS + "?subject=source&id={sources[Contoso eSeal]}",
        "Show others too",
        By.AUDITOR,
    ),
    # Licence
    Page("licence", "Licence", LICENCE, "Licensed for", By.OPS),
    Page("licence-none", "Licence, none installed", LICENCE, "licence", empty=True),
    Page("licence-installed", "An installed licence", LICENCE + "{licence}/change/", "Enables"),
    Page("licence-install", "Install a licence", LICENCE + "add/", "licence"),
    Page(
        "licence-install-errors",
        "Install a licence, with errors",
        LICENCE + "add/",
        "Please look at this again",
        act=submit("Continue", text="no licence"),
    ),
    Page(
        "licence-preview",
        "A licence before it is installed",
        LICENCE + "add/?text={licence_text}",
        "What changes here",
        act=submit("Continue"),
    ),
    # People
    Page("people", "People", PEOPLE, "nina.berg"),
    Page("person-new", "New person", PEOPLE + "add/", "First password"),
    Page(
        "person-new-errors",
        "New person, with errors",
        PEOPLE + "add/",
        "Please look at this again",
        act=submit("Save", username="nina.berg", password1="short", password2="other"),
    ),
    Page("person", "A person", PERSON + "change/", "May sign in"),
    Page(
        "person-locked", "A person who is locked out", PEOPLE + "{people[lena.vogel]}/change/", "Unlock now"
    ),
    Page(
        "person-password",
        "Set somebody's password",
        PERSON + "password/",
        "Set a password for",
    ),
    Page(
        "person-errors",
        "A person, with errors",
        PERSON + "change/",
        "Please look at this again",
        act=submit("Save", username="not a name!", email="nowhere"),
    ),
    Page(
        "person-superuser",
        "A superuser, whom administrators only see",
        PEOPLE + "{people[root]}/change/",
        "root",
    ),
    Page("person-history", "A person's history", PERSON + "history/", "History of nina.berg"),
    # What went wrong
    Page(
        "error-400",
        "A request that makes no sense",
        "/login/",
        "That request was not understood",
        By.STRANGER,
        too_many_fields,
        tolerates=REFUSED,
    ),
    Page(
        "error-500",
        "A fault of the console",
        PEOPLE + "1/history/",
        "Something went wrong here",
        empty=True,
        status=500,
        tolerates=REFUSED,
    ),
    Page(
        "error-403",
        "Not allowed",
        PEOPLE,
        "You may not open this page",
        By.AUDITOR,
        status=403,
        tolerates=REFUSED,
    ),
    Page(
        "error-404",
        "No such page",
        "/no/such/page/",
        "This page does not exist",
        status=404,
        tolerates=REFUSED,
    ),
    Page(
        "error-form-out-of-date",
        "A form that is out of date",
        "/login/",
        "This form is out of date",
        By.STRANGER,
        lose("csrftoken", submit("Sign in", username="a", password="b")),
        tolerates=REFUSED,
    ),
)

#: URL patterns that show no page of their own, and why. A pattern without a name stands here by its route.
NO_PAGES: Final = {
    "session": "JSON for session.js",
    "jsi18n": "a script",
    "autocomplete": "JSON",
    "view_on_site": "a redirect",
    "app_list": "a redirect to the overview",
    "logout": "a redirect to the sign-in page",
    "<path:object_id>/": "a redirect of Django's admin framework",
    "(?P<url>.*)$": "adds a missing slash, or is error-404",
    "auth_user_delete": "always error-403",
    "auth_user_unlock": "POST only",
    "audit_auditrecord_export": "a download",
    "overview_work": "JSON for live.js",
    "licensing_licence_delete": "always error-403",
    "licensing_licence_history": "person-history",
    "cryptosources_cryptosource_activate": "POST only",
    "cryptosources_cryptosource_test_key": "POST only",
    "cryptosources_cryptosource_role_file": "a download",
    "cryptosources_cryptosource_test": "POST only",
    "cryptosources_cryptosource_follow_test": "JSON for live.js",
    "keys_managedkey_live": "JSON for live.js",
    "keys_managedkey_pem": "a download",
    "keys_managedkey_jwk": "a download",
    "keys_keyoperation_live": "JSON for live.js",
    "keys_keyoperation_batch_live": "JSON for live.js",
    "keys_keyoperation_batch_retry": "POST only",
    "keys_keyoperation_status": "JSON for scripts",
    "keys_keyoperation_signature": "a download",
    "keys_keyoperation_retry": "POST only",
}
