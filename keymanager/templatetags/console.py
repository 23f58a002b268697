"""Template helpers of the console's own look."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django import template
from django.forms import BoundField
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

SHORT = 14


@register.filter
def label_cells(row: Iterable[str], headers: Sequence[Mapping[str, Any]]) -> list[SafeString]:
    """Give each rendered cell of an admin list its column's name in ``data-label``.

    A narrow window shows rows as cards, and the name beside each value. The cells come from Django's
    ``result_list`` as safe strings that start with ``<td`` or ``<th``; anything else is left alone.
    """
    return [_labelled(cell, str(header["text"])) for cell, header in zip(row, headers, strict=False)]


def _labelled(cell: str, label: str) -> SafeString:
    if not cell.startswith("<td") or label.startswith("<"):
        return mark_safe(cell)  # noqa: S308  (Django rendered and escaped it)
    shown = escape(label[:1].upper() + label[1:])
    return mark_safe(f'<td data-label="{shown}"{_breakable(cell[3:])}')  # noqa: S308  (as above)


def _breakable(cell: str) -> str:
    """Plain text breaks after the dots and slashes of host names and addresses; short text stays whole."""
    attributes, closes, text = cell.partition(">")
    content, end, rest = text.partition("</td>")
    if "<" in content or rest:
        return cell
    if len(content) <= SHORT:
        return f'{attributes}{closes}<span class="nowrap">{content}</span>{end}'
    return attributes + closes + re.sub(r"(?<=\w)([./@])(?=\w)", r"\1<wbr>", content) + end


@register.filter
def grouped(number: int) -> str:
    """``12,345``"""
    return f"{number:,}"


@register.filter
def compact(number: int) -> str:
    """``12k`` or ``1.5M`` where there is room for four characters; small numbers as they are."""
    if number < 10_000:
        return grouped(number)
    return f"{number / 1000:g}k" if number < 1_000_000 else f"{number / 1_000_000:g}M"


@register.filter
def may_stay_empty(field: BoundField) -> bool:
    """Is the field optional whatever else is chosen? One that depends on another may be needed by it.

    ``data-kept`` marks one whose help says what an empty one means: “optional” would say too little.
    """
    told = {"data-requires", "data-kept"} & field.field.widget.attrs.keys()
    return not (field.field.required or field.field.disabled or told)
