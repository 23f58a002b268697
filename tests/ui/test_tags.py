"""The helpers of the templates."""

from typing import Any

import pytest
from django.utils.safestring import mark_safe

from keymanager.templatetags.console import label_cells

HEADERS: list[Any] = [{"text": "friendly name"}, {"text": "address"}]


def _row(*cells: str) -> list[str]:
    return [mark_safe(cell) for cell in cells]


def _second(cell: str) -> str:
    return label_cells(_row("<th>x</th>", cell), HEADERS)[1]


def test_cells_are_labelled_with_their_column() -> None:
    assert _second('<td class="a"><b>1</b></td>') == '<td data-label="Address" class="a"><b>1</b></td>'


def test_the_name_of_a_row_needs_no_label() -> None:
    assert label_cells(_row("<th>x</th>"), HEADERS) == ["<th>x</th>"]


def test_the_checkbox_column_has_no_label() -> None:
    headers = [{"text": '<input type="checkbox">'}]
    assert label_cells(_row('<td class="action-checkbox">x</td>'), headers) == _row(
        '<td class="action-checkbox">x</td>'
    )


def test_label_is_escaped() -> None:
    (cell,) = label_cells(_row("<td>x</td>"), [{"text": 'a "b'}])
    assert 'data-label="A &quot;b"' in cell


def test_short_text_stays_whole() -> None:
    assert _second("<td>EC-HSM P-256</td>").endswith('><span class="nowrap">EC-HSM P-256</span></td>')


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("contoso.managedhsm.azure.net", "contoso.<wbr>managedhsm.<wbr>azure.<wbr>net"),
        ("R&amp;D and others of the firm", "R&amp;D and others of the firm"),
    ],
)
def test_long_text_breaks_at_its_dots(text: str, shown: str) -> None:
    assert _second(f"<td>{text}</td>") == f'<td data-label="Address">{shown}</td>'
