"""The palette meets WCAG 2.2 AA in light and dark: 4.5:1 for text, 3:1 for the edges of controls."""

import re
from pathlib import Path

import pytest
from django.conf import settings

TOKENS = (Path(settings.BASE_DIR) / "static/css/tokens.css").read_text()
PALETTE = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", TOKENS)
}
TEXT = [
    *[
        (ink, ground)
        for ink in ("ink", "ink-soft", "accent")
        for ground in ("ground", "surface", "surface-sunken")
    ],
    *[(ink, "surface-raised") for ink in ("ink", "ink-soft", "accent")],
    *[("ink", f"{kind}-tint") for kind in ("accent", "ok", "warn", "bad", "muted")],
    *[(kind, f"{kind}-tint") for kind in ("accent", "ok", "warn", "bad")],
    *[(kind, "surface") for kind in ("ok", "warn", "bad", "accent-strong", "bad-strong")],
    ("ink-soft", "muted-tint"),
    ("accent-ink", "accent"),
    ("accent-ink", "accent-strong"),
    ("bad-ink", "bad"),
]
EDGES = [("line-strong", ground) for ground in ("ground", "surface", "surface-sunken")]


def _luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_is_21() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), TEXT)
def test_text(ink: str, ground: str, theme: int) -> None:
    assert contrast(PALETTE[ink][theme], PALETTE[ground][theme]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("edge", "ground"), EDGES)
def test_edges_of_controls(edge: str, ground: str, theme: int) -> None:
    assert contrast(PALETTE[edge][theme], PALETTE[ground][theme]) >= 3
