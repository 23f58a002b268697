"""An operator's way through the key pages in a real browser, with a worker in the test."""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from cryptosources.models import CryptoSource, SourceStatus
from cryptosources.providers.memory import forget_memory_hsms
from keymanager.roles import sync_roles
from keys.models import Installation, KeyOperation, ManagedKey
from tests.browser import Window, chromium, window
from tests.keys.conftest import Run
from tests.keys_pages.conftest import NewKey

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as program:
        yield program


@pytest.fixture
def source(transactional_db: None, sealing_keys: Path) -> Iterator[CryptoSource]:
    """As elsewhere, with backups; a flush between tests took the installation's identity away."""
    Installation.objects.get_or_create()
    yield CryptoSource.objects.create(
        friendly_name="Vault A", kind="memory", status=SourceStatus.ACTIVE, backup_restore=True
    )
    forget_memory_hsms()


@pytest.fixture
def alice(transactional_db: None) -> User:
    sync_roles()
    user = User.objects.create_user("alice", is_staff=True)
    user.groups.add(Group.objects.get(name="operator"))
    return user


@pytest.fixture
def work(run: Run) -> Callable[[], KeyOperation]:
    """Let a worker finish what was asked last."""
    return lambda: run(KeyOperation.objects.latest("requested_at"))


@pytest.mark.parametrize("width", [1280, 400])
def test_a_keys_life(
    browser: Browser,
    live_server: LiveServer,
    source: CryptoSource,
    alice: User,
    work: Callable[[], KeyOperation],
    tmp_path: Path,
    width: int,
) -> None:
    contract = tmp_path / "contract.pdf"
    contract.write_bytes(b"%PDF-1.7 signed by an HSM" * 1000)
    with window(browser, live_server.url, width=width) as console:
        page = console.enter_as(alice)
        _generate(console, work)
        _sign(page, work, contract)
        _verify(page, contract, tmp_path)
        _delete_and_purge(console, work)


def _generate(console: Window, work: Callable[[], KeyOperation]) -> None:
    page = console.open("/keys/managedkey/")
    page.get_by_role("link", name="Generate a key").first.click()
    expect(page.get_by_label("Crypto source")).to_have_value(str(CryptoSource.objects.get().pk))
    expect(page.get_by_text("keeps a backup of every key")).to_be_visible()
    page.get_by_label("Name").fill("seal 1")
    page.get_by_label("Key type").select_option(label="EC-HSM P-256")
    page.get_by_role("button", name="Generate key").click()
    expect(page.locator("[data-error-summary]")).to_be_focused()
    page.get_by_label("Name").fill("seal-1")
    expect(page.get_by_label("Key type")).to_have_value("EC-P-256")
    page.get_by_role("button", name="Generate key").click()
    _follow(page, "Generate seal-1", work)
    page.get_by_role("link", name="Open the key").click()
    expect(page.get_by_text("in the HSM", exact=True).first).to_be_visible()


def _sign(page: Page, work: Callable[[], KeyOperation], contract: Path) -> None:
    page.get_by_role("link", name="Sign", exact=True).click()
    expect(page.get_by_label("Digest", exact=True)).to_be_disabled()
    page.get_by_label("A digest").check()
    expect(page.get_by_label("File", exact=True)).to_be_disabled()
    page.get_by_label("A file").check()
    page.get_by_label("File", exact=True).set_input_files(contract)
    page.get_by_role("button", name="Sign", exact=True).click()
    page.wait_for_url("**/keys/keyoperation/**")
    operation = work()
    expect(page.locator("#signature-text")).to_have_text(operation.result["signature"])


def _verify(page: Page, contract: Path, folder: Path) -> None:
    page.get_by_role("link", name="Raw r‖s").click()
    page.get_by_role("link", name="Hex").click()
    raw = page.locator("#signature-text").inner_text()
    assert len(raw) == 128
    with page.expect_download() as download:
        page.get_by_role("link", name="Download .sig").click()
    saved = folder / download.value.suggested_filename
    download.value.save_as(saved)
    assert (saved.name, saved.read_bytes().hex()) == ("contract.pdf.raw.sig", raw)
    page.get_by_role("link", name="Verify here").click()
    expect(page.get_by_label("Digest", exact=True)).to_have_value(
        hashlib.sha256(contract.read_bytes()).hexdigest()
    )
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_text("The signature is valid.")).to_be_visible()


def _delete_and_purge(console: Window, work: Callable[[], KeyOperation]) -> None:
    key = ManagedKey.objects.get()
    page = console.open(f"/keys/managedkey/{key.pk}/")
    page.get_by_role("link", name="Delete…").click()
    expect(page.get_by_text("What can undo it")).to_be_visible()
    page.get_by_role("button", name="Delete this key").click()
    _follow(page, "Delete seal-1", work)
    page.get_by_role("link", name="Open the key").click()
    expect(page.get_by_text(re.compile(r"recoverable until \d"))).to_be_visible()
    page.get_by_role("link", name="Purge…").click()
    purge = page.get_by_role("button", name="Purge this key")
    expect(purge).to_be_disabled()
    page.get_by_label("Type seal-1 to confirm").fill("seal-1")
    purge.click()
    _follow(page, "Purge seal-1", work)
    page = console.open(f"/keys/managedkey/{key.pk}/")
    page.get_by_role("button", name="Restore").click()
    page.wait_for_url("**/keys/keyoperation/**")
    page = console.open(f"/keys/managedkey/{key.pk}/")
    expect(page.get_by_role("heading", name="Restore seal-1")).to_be_visible()
    work()
    expect(page.locator("[data-live]")).to_have_count(0)
    expect(page.get_by_text("in the HSM", exact=True)).to_be_visible()


def _follow(page: Page, title: str, work: Callable[[], KeyOperation]) -> None:
    """The operation's page opens, a worker does it, and the page says so by itself."""
    page.wait_for_url("**/keys/keyoperation/**")
    expect(page.get_by_role("heading", name=title)).to_be_visible()
    work()
    expect(page.get_by_text("done", exact=True)).to_be_visible()


@pytest.mark.parametrize("width", [1280, 400])
def test_several_keys_at_once(
    browser: Browser, live_server: LiveServer, source: CryptoSource, alice: User, run: Run, width: int
) -> None:
    with window(browser, live_server.url, width=width) as console:
        console.enter_as(alice)
        page = console.open("/keys/managedkey/add/")
        preview, button = page.locator("[data-names-preview]"), page.get_by_role("button", name="Generate")
        expect(preview).to_be_hidden()
        expect(page.get_by_label("First number")).to_be_hidden()
        page.get_by_label("Key type").select_option(label="EC-HSM P-256")
        page.get_by_label("How many").fill("12")
        expect(preview).to_have_text("Type the part of the name that comes before the number.")
        page.get_by_label("Name", exact=True).fill("eseal-")
        page.get_by_label("First number").fill("995")
        expect(preview).to_have_text("The last number is 1006: use 4 digits.")
        page.get_by_label("First number").fill("7")
        expect(preview).to_contain_text("12 keys: eseal-007, eseal-008 … eseal-018.")
        expect(button).to_have_text("Generate 12 keys")
        page.get_by_label("Tags").fill("department=seals")
        button.click()
        expect(page.get_by_role("heading", name="0 of 12 keys are done")).to_be_visible()
        for operation in KeyOperation.objects.order_by("not_before"):
            run(operation)
        expect(page.get_by_text("All keys are in the HSM, ready to sign.")).to_be_visible()
        page.get_by_role("link", name="The keys").click()
        expect(page.get_by_role("link", name="eseal-018")).to_be_visible()
    assert ManagedKey.objects.filter(residency="resident", tags={"department": "seals"}).count() == 12


def test_validity_is_changed_and_the_list_of_operations_follows(
    browser: Browser, live_server: LiveServer, source: CryptoSource, alice: User, new_key: NewKey, run: Run
) -> None:
    key = new_key()
    with window(browser, live_server.url) as console:
        console.enter_as(alice)
        page = console.open(f"/keys/managedkey/{key.pk}/")
        page.get_by_role("link", name="Change…").click()
        page.get_by_label("Enabled").uncheck()
        page.get_by_role("button", name="Change validity and tags").click()
        expect(page.get_by_text("waits for a worker")).to_be_visible()
        page = console.open("/keys/keyoperation/")
        expect(page.get_by_text("waits for a worker")).to_be_visible()
        run(KeyOperation.objects.get(kind="update"))
        expect(page.get_by_text("waits for a worker")).to_have_count(0)
        page = console.open(f"/keys/managedkey/{key.pk}/")
        expect(page.get_by_text("This key signs nothing now.")).to_be_visible()


@pytest.mark.parametrize(("width", "shown"), [(1280, True), (390, False)])
def test_a_narrow_list_leaves_out_what_says_nothing(
    browser: Browser,
    live_server: LiveServer,
    source: CryptoSource,
    alice: User,
    new_key: NewKey,
    width: int,
    shown: bool,
) -> None:
    new_key()
    with window(browser, live_server.url, width=width) as console:
        console.enter_as(alice)
        keys = console.open("/keys/managedkey/")
        assert keys.locator(".field-key_type").is_visible()
        for column in ("validity", "last_used", "signatures"):
            assert keys.locator(f"td.field-{column}").is_visible() is shown, column
        operations = console.open("/keys/keyoperation/")
        assert operations.locator("td.field-took").is_visible()
        assert operations.locator("td.field-problem").is_visible() is shown
