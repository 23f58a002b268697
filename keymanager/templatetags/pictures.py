"""Pictures that more than one page draws. The geometry is computed in :mod:`keymanager.pictures`."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from django import template

from keymanager.pictures.bars import bar_chart

register = template.Library()


@register.inclusion_tag("pictures/daily_bars.html")
def daily_bars(days: Sequence[tuple[date, int]], what: str) -> dict[str, Any]:
    """Consecutive days (UTC) with their counts, oldest first, today last; ``what`` is counted, in plural.

    A table with the same numbers goes with the picture.
    """
    return {"chart": bar_chart(days), "days": list(reversed(days)), "what": what}
