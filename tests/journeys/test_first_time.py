"""Somebody who has never seen the console: only what the pages say leads from one step to the next.

The front page says what comes first. The account lacks rights; what the page shows for it is copied, word
for word, to the command line of the HSM's administrator. With KEYMANAGER_TEST_PICTURES=FOLDER every step
leaves its picture there.
"""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.journeys.az import Az
from tests.journeys.person import SECONDS_20, Person

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(240)]
PICTURES = os.environ.get("KEYMANAGER_TEST_PICTURES", "")
SOURCE, KEY = "Contoso eSeal HSM", "eseal-2026"


class FirstTimer(Person):
    """A person who looks at every page before the next click."""

    steps = 0

    def looks(self, step: str) -> None:
        self.steps += 1
        if PICTURES:
            path = Path(PICTURES) / f"{self.steps:02}-{step}.png"
            self.page.screenshot(path=path, full_page=True)

    def follows_first_step(self, button: str) -> None:
        """Press the one button that *Your way to the first signature* offers now."""
        self.console.open("/")
        way = self.main.get_by_role("region", name="Your way to the first signature")
        self.looks("overview")
        buttons = way.locator("a.btn")
        expect(buttons).to_have_text([button])
        buttons.click()
        self.page.wait_for_load_state("load")

    def copies(self, label: str) -> str:
        return self.main.get_by_label(label).inner_text()


def test_from_sign_in_to_a_verified_signature_without_reading_docs(
    administrator: Person, tmp_path: Path
) -> None:
    person = FirstTimer(administrator.console, administrator.stack)
    application = person.stack.sandbox.add_app("Key Manager", ["Crypto User"])
    creates_a_source(person, application.application_id, application.secret.value)
    finds_a_right_missing(person)
    repairs_it_with_the_help_shown(person, tmp_path)
    generates_a_key(person)
    document = tmp_path / "contract.txt"
    document.write_text("The contract, in its last version.\n")
    signature = signs(person, document)
    verifies(person, document, signature)
    sees_the_way_gone(person)


def creates_a_source(person: FirstTimer, application_id: str, secret: str) -> None:
    person.follows_first_step("New crypto source")
    person.looks("empty-form")
    person.fill_in_fields(SOURCE, application_id=application_id, key=secret)
    person.page.get_by_label("Enable Key Backup & Restore").check()
    person.looks("filled-form")
    person.submit_source()
    expect(person.page.get_by_role("heading", level=1)).to_have_text(SOURCE)
    person.looks("source-created")


def finds_a_right_missing(person: FirstTimer) -> None:
    test = person.test_connection()
    expect(test.locator(".message-error").first).to_contain_text("The test failed")
    person.looks("test-failed")
    test.get_by_role("link", name="How to repair the rights").click()
    rights = person.page.locator("#rights")
    expect(rights).to_contain_text("purge deleted keys")
    expect(rights.get_by_text("missing", exact=True).first).to_be_visible()


def repairs_it_with_the_help_shown(person: FirstTimer, folder: Path) -> None:
    with person.page.expect_download() as started:
        person.main.get_by_role("link", name="download it").click()
    started.value.save_as(folder / started.value.suggested_filename)
    person.looks("repair")
    administration = Az(person.stack.sandbox, folder)
    administration.run(person.copies("The command that makes the role"))
    administration.run(person.copies("The command that assigns the role"))
    test = person.test_connection()
    expect(test.locator(".message-success")).to_contain_text("The connection works")
    expect(person.page.locator("#rights")).to_contain_text("Every right that this source needs is there")
    person.looks("test-passed")
    person.main.get_by_text("Also run a throw-away key through its whole life").click()
    person.looks("throw-away-key-explained")
    person.main.get_by_role("button", name="Test with a throw-away key").click()
    expect(test.locator(".message-success")).to_contain_text(
        "a throw-away key went through its whole life", timeout=3 * SECONDS_20
    )
    person.looks("throw-away-key-passed")


def generates_a_key(person: FirstTimer) -> None:
    person.follows_first_step("Generate a key")
    person.page.get_by_label("Name", exact=True).fill(KEY)
    person.looks("generate")
    person.page.get_by_role("button", name="Generate").click()
    person.see_done()
    person.looks("generated")


def signs(person: FirstTimer, document: Path) -> Path:
    person.follows_first_step("Sign")
    person.page.get_by_label("File", exact=True).set_input_files(document)
    person.looks("sign")
    person.main.get_by_role("button", name="Sign", exact=True).click()
    person.see_done()
    person.looks("signed")
    signature = document.with_suffix(".sig")
    signature.write_bytes(person.download("Download .sig"))
    return signature


def verifies(person: FirstTimer, document: Path, signature: Path) -> None:
    person.open_key(KEY)
    person.looks("key")
    person.main.get_by_role("link", name="Verify a signature").click()
    person.page.get_by_label("File", exact=True).set_input_files(document)
    person.page.get_by_label("or the signature's file").set_input_files(signature)
    person.looks("verify")
    person.main.get_by_role("button", name="Verify").click()
    expect(person.main.locator(".message-success")).to_contain_text("The signature is valid")
    person.looks("verified")


def sees_the_way_gone(person: FirstTimer) -> None:
    person.console.open("/")
    expect(person.main.get_by_text("Your way to the first signature")).to_have_count(0)
    person.looks("overview-at-work")
