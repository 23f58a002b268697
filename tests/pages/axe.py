"""axe-core, the accessibility checker, on a page in a browser.

It is injected past the page's Content-Security-Policy by the browser's own debugging interface; the policy
stays as strict as it is for people.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

from tests.services import not_proven

SCRIPT: Final = Path(__file__).resolve().parents[1] / "axe" / "node_modules" / "axe-core" / "axe.min.js"
TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice")
#: What depends on the colours, and so is asked again in the dark; and what depends on the room there is.
COLOUR_RULES: Final = ("color-contrast", "link-in-text-block")
ROOM_RULES: Final = (*COLOUR_RULES, "scrollable-region-focusable", "target-size")
RUN: Final = """only => axe.run(document, { runOnly: only, resultTypes: ["violations"], preload: false })
    .then(found => found.violations)"""


@dataclass(frozen=True)
class Violation:
    rule: str
    impact: str
    help: str
    where: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.impact}: {self.rule}: {self.help}: {' | '.join(self.where)}"


def require() -> None:
    """Skip the test where axe is not installed."""
    if not SCRIPT.exists():
        not_proven("accessibility by axe-core (needs npm, then `make test` installs it)")


def load(page: Page) -> None:
    """Bring axe into the page; skips the test where it is not installed."""
    require()
    page.evaluate(SCRIPT.read_text())


def violations(page: Page, *, rules: tuple[str, ...] = ()) -> list[Violation]:
    """What is wrong with the page as it stands; only these rules, or all that have our tags."""
    only = {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": list(TAGS)}
    return [_violation(found) for found in page.evaluate(RUN, only)]


def _violation(found: dict[str, Any]) -> Violation:
    where = (" ".join(map(str, node["target"])) for node in found["nodes"][:4])
    return Violation(found["id"], found["impact"] or "minor", found["help"], tuple(where))
