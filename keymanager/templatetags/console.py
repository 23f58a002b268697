"""Template helpers of the console's own look."""

from collections.abc import Iterable, Mapping
from typing import Any

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()


@register.filter
def label_cells(row: Iterable[str], headers: list[Mapping[str, Any]]) -> list[SafeString]:
    """Give each rendered cell of an admin list its column's name in ``data-label``.

    A narrow window shows rows as cards, and the name beside each value. The cells come from Django's
    ``result_list`` as safe strings that start with ``<td`` or ``<th``; anything else is left alone.
    """
    return [_labelled(cell, str(header["text"])) for cell, header in zip(row, headers, strict=False)]


def _labelled(cell: str, label: str) -> SafeString:
    if not cell.startswith("<td") or label.startswith("<"):
        return mark_safe(cell)  # noqa: S308  (Django rendered and escaped it)
    shown = escape(label[:1].upper() + label[1:])
    return mark_safe(f'<td data-label="{shown}"{cell[3:]}')  # noqa: S308  (as above)
