"""Which rights a source's account needs, which of them the last test proved, and what repairs the rest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cryptosources.models import ConnectionTest, CryptoSource
from cryptosources.providers.api import MISSING_RIGHT, OBJECT_ID, ProviderKind, Right, StepOutcome
from cryptosources.providers.azure import rights as azure

_EVERY_SOURCE: Final = frozenset(
    {Right.CREATE, Right.READ, Right.SIGN, Right.DELETE, Right.READ_DELETED, Right.UPDATE}
)
_BACKUP_RESTORE: Final = frozenset({Right.BACKUP, Right.RESTORE, Right.PURGE, Right.RECOVER})
FULL_CYCLE: Final = frozenset(
    {
        Right.CREATE,
        Right.READ,
        Right.SIGN,
        Right.BACKUP,
        Right.RESTORE,
        Right.DELETE,
        Right.READ_DELETED,
        Right.PURGE,
    }
)
ROLE_FILE: Final = "key-manager-role.json"


class RightState(StrEnum):
    GRANTED = "granted"
    MISSING = "missing"
    UNTOLD = "untold"


@dataclass(frozen=True, slots=True)
class RightRow:
    """One right of a source: ``action`` is the vendor's name for it, ``found_out`` how its state is known."""

    label: str
    what_for: str
    action: str
    state: RightState
    found_out: str

    @property
    def short_action(self) -> str:
        """Without the vendor's prefix, which all of them share."""
        return self.action.removeprefix(azure.PREFIX)


@dataclass(frozen=True, slots=True)
class Repair:
    """What an administrator of the HSM does about missing rights: a file and the lines to run, in order.

    ``object_id_line`` is empty where the account's object id is known and stands in the lines already.
    """

    role_name: str
    role_json: str
    define_line: str
    assign_line: str
    object_id_line: str
    built_in_roles: tuple[str, ...]

    @property
    def needs_officer(self) -> bool:
        """The built-in roles that would do include one that may assign roles."""
        return azure.OFFICER in self.built_in_roles


@dataclass(frozen=True, slots=True)
class RightsReport:
    rows: tuple[RightRow, ...]
    repair: Repair | None

    @property
    def missing(self) -> tuple[RightRow, ...]:
        return tuple(row for row in self.rows if row.state is RightState.MISSING)

    @property
    def missing_lead(self) -> str:
        """What is missing, in as many words as it needs; :attr:`missing_rest` goes on."""
        names = ", ".join(row.label.lower() for row in self.missing)
        count = len(self.missing)
        if self.untold:
            return f"{names.capitalize()} {'is' if count == 1 else 'are'} missing."
        return "One right is missing:" if count == 1 else f"{count} rights are missing:"

    @property
    def missing_rest(self) -> str:
        """The names, or where not all is known, how much is not."""
        if not self.untold:
            return ", ".join(row.label.lower() for row in self.missing) + "."
        count = len(self.untold)
        unknown = "Another one is" if count == 1 else f"The other {count} are"
        repaired = " The role below gives all of them." if self.repair else ""
        return f"{unknown} not known yet.{repaired}"

    @property
    def untold(self) -> tuple[RightRow, ...]:
        return tuple(row for row in self.rows if row.state is RightState.UNTOLD)

    @property
    def nothing_told(self) -> bool:
        return len(self.untold) == len(self.rows)


def needed_rights(source: CryptoSource, *, full_cycle: bool = False) -> frozenset[Right]:
    """What the source's account must be allowed to do for the way the source is set up."""
    rights = _EVERY_SOURCE | _BACKUP_RESTORE if source.backup_restore else _EVERY_SOURCE
    return rights | FULL_CYCLE if full_cycle else rights


def rights_report(*, source: CryptoSource, test: ConnectionTest | None) -> RightsReport:
    """The table of rights after ``test``, the newest that was carried out; None: nothing is known yet.

    A test with the full cycle asks for more rights than the source itself; they are shown with it.
    """
    needed = needed_rights(source, full_cycle=bool(test and test.full_cycle))
    steps = {step["name"]: step for step in test.steps} if test else {}
    rows = tuple(_row(right, source.provider_kind, steps) for right in Right if right in needed)
    report = RightsReport(rows, None)
    if not report.missing or source.provider_kind is not ProviderKind.AZURE_MANAGED_HSM:
        return report
    if test is not None and test.is_outdated:  # it may have found what another account lacks
        return report
    to_grant = rows if report.untold else report.missing
    return RightsReport(rows, _repair(source, needed, to_grant, steps))


def role_file(*, source: CryptoSource, test: ConnectionTest | None) -> str:
    """The custom role of exactly the rights that the source needs, as JSON. Azure Managed HSM only."""
    needed = needed_rights(source, full_cycle=bool(test and test.full_cycle))
    return _role_json(needed)


def last_carried_out(source: CryptoSource) -> ConnectionTest | None:
    """The newest test that came to its end."""
    return source.tests.filter(state=ConnectionTest.State.FINISHED).order_by("-finished_at").first()


def _row(right: Right, kind: ProviderKind, steps: Mapping[str, Mapping[str, Any]]) -> RightRow:
    memory = kind is ProviderKind.MEMORY
    action = right.value if memory else azure.full_action(right)
    step = steps.get(f"right:{right if memory else azure.DATA_ACTIONS[right]}")
    roles_read = steps.get("roles", {}).get("outcome") == StepOutcome.PASSED
    state, found_out = _state(step), _how_found(step, roles_read=roles_read)
    if any(each.get("facts", {}).get(MISSING_RIGHT) == action for each in steps.values()):
        state, found_out = RightState.MISSING, "The HSM refused it to the throw-away key."
    return RightRow(
        label=azure.LABELS[right].capitalize(),
        what_for=azure.WHAT_FOR[right].capitalize(),
        action=action,
        state=state,
        found_out=found_out,
    )


def _how_found(step: Mapping[str, Any] | None, *, roles_read: bool) -> str:
    if step is None:
        return "The test has not come this far."
    if _state(step) is RightState.MISSING:
        if roles_read:
            return "No role of the account gives it, and the HSM refused a harmless try."
        return "The HSM refused a harmless try. The account's roles were not read."
    return str(step["detail"])


def _state(step: Mapping[str, Any] | None) -> RightState:
    if step is None:
        return RightState.UNTOLD
    if step["outcome"] == StepOutcome.PASSED:
        return RightState.GRANTED
    denied = step["outcome"] == StepOutcome.FAILED and step["code"] == "AccessDenied"
    return RightState.MISSING if denied else RightState.UNTOLD


def _repair(
    source: CryptoSource,
    needed: frozenset[Right],
    to_grant: tuple[RightRow, ...],
    steps: Mapping[str, Mapping[str, Any]],
) -> Repair:
    hsm_name = source.address.partition(".")[0].partition(":")[0]
    object_id = azure.object_id_or_nothing(steps.get("token", {}).get("facts", {}).get(OBJECT_ID))
    name = azure.role_name(needed)
    return Repair(
        role_name=name,
        role_json=_role_json(needed),
        define_line=azure.define_command(hsm_name=hsm_name, file_name=ROLE_FILE),
        assign_line=azure.assign_command(hsm_name=hsm_name, role=name, object_id=object_id),
        object_id_line="" if object_id else azure.object_id_command(str(source.application_id)),
        built_in_roles=tuple(sorted({azure.built_in_role(row.action) for row in to_grant})),
    )


def _role_json(needed: frozenset[Right]) -> str:
    return json.dumps(azure.role_definition(needed, name=azure.role_name(needed)), indent=2)
