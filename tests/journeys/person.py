"""What a person does at the console, in clicks and keystrokes; nothing here knows a URL beyond the rooms."""

from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser import Window
from tests.services import Stack

SOURCES = "/cryptosources/cryptosource/"
KEYS = "/keys/managedkey/"
SECONDS_20 = 20_000


@dataclass
class Person:
    console: Window
    stack: Stack

    @property
    def page(self) -> Page:
        return self.console.page

    @property
    def main(self) -> Locator:
        return self.page.locator("main")

    # --- Crypto sources ---------------------------------------------------------------------

    def fill_in_source(self, name: str, **changes: str) -> None:
        """Open the form of a new source and fill it in for the stack's HSM, with some fields otherwise.

        Keys of ``changes``: dns_name, token_endpoint, application_id, key, trusted_roots.
        """
        self.console.open(SOURCES)
        self.page.get_by_role("link", name="New crypto source").first.click()
        self.fill_in_fields(name, **changes)

    def fill_in_fields(self, name: str, **changes: str) -> None:
        """Fill in the open form of a new source; see ``fill_in_source``."""
        hsm = self.stack.sandbox
        values = {
            "Friendly Name": name,
            "DNS Name": changes.get("dns_name", hsm.address()),
            "Endpoint OAuth 2.0 Token": changes.get("token_endpoint", hsm.token_endpoint()),
            "Application ID": changes.get("application_id", hsm.application_id),
            "Trusted root certificates": changes.get("trusted_roots", Path(hsm.ca_file).read_text()),
        }
        for label, value in values.items():
            self.page.get_by_label(label).fill(value)
        self.page.get_by_label("Key", exact=True).fill(changes.get("key", hsm.secret))

    def create_source(self, name: str, *, backup: bool = False, **changes: str) -> None:
        self.fill_in_source(name, **changes)
        if backup:
            self.page.get_by_label("Enable Key Backup & Restore").check()
        self.submit_source()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(name)

    def submit_source(self) -> None:
        self.page.get_by_role("button", name="Create crypto source").click()
        self.page.wait_for_load_state("load")

    def open_source(self, name: str) -> None:
        self.console.open(SOURCES)
        self.page.get_by_role("link", name=name, exact=True).click()

    def test_connection(self) -> Locator:
        """Press the button and wait for the end, watching the live page; the part with the steps."""
        self.page.get_by_role("button", name="Test connection").click()
        part = self.page.locator("#connection")
        ended = part.locator(".message").first
        ended.wait_for(timeout=2 * SECONDS_20)
        return part

    # --- Keys -------------------------------------------------------------------------------

    def ask_to_generate(self, source: str, name: str, key_type: str) -> None:
        self.console.open(KEYS + "add/")
        self.page.get_by_label("Crypto source").select_option(label=source)
        self.page.get_by_label("Name", exact=True).fill(name)
        self.page.get_by_label("Key type").select_option(label=key_type)
        self.page.get_by_role("button", name="Generate").click()

    def generate(self, source: str, name: str, key_type: str) -> None:
        self.ask_to_generate(source, name, key_type)
        self.see_done()

    def open_key(self, name: str) -> None:
        self.console.open(KEYS)
        self.page.get_by_role("link", name=name, exact=True).click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(name)

    def act(self, key: str, act: str, *, confirm: str = "") -> None:
        """Do one of *What you can do* with a key and see it done; ``confirm`` is the button that confirms."""
        self.ask(key, act, confirm=confirm)
        self.see_done()

    def ask(self, key: str, act: str, *, confirm: str = "") -> None:
        self.open_key(key)
        button = self.main.get_by_role("button", name=act, exact=True)
        button.or_(self.main.get_by_role("link", name=act, exact=True)).click()
        if confirm:
            self.main.get_by_role("button", name=confirm).click()

    def purge(self, key: str) -> None:
        self.ask(key, "Purge…")
        button = self.main.get_by_role("button", name="Purge this key")
        expect(button).to_be_disabled()
        self.page.get_by_label("to confirm").fill(key)
        button.click()
        self.see_done()

    def see_done(self) -> None:
        """The live page of an operation shows that it is done, without a reload by hand."""
        expect(self.main.locator(".message-success").first).to_be_visible(timeout=SECONDS_20)

    def see_failed(self) -> Locator:
        failed = self.main.locator(".message-error").first
        expect(failed).to_be_visible(timeout=2 * SECONDS_20)
        return failed

    def download(self, link: str) -> bytes:
        with self.page.expect_download() as started:
            self.main.get_by_role("link", name=link).first.click()
        return Path(started.value.path()).read_bytes()
