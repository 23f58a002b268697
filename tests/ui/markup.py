"""Reading HTML in tests: elements in document order, and what a strict CSP would refuse in them."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

LOADING_ATTRIBUTES = ("src", "href", "action", "formaction", "srcset", "poster", "data")


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]

    def get(self, name: str) -> str | None:
        return self.attributes.get(name)


@dataclass
class Markup:
    """A parsed page. Text belongs to the innermost open element."""

    elements: list[Element] = field(default_factory=list)

    def by_id(self, identifier: str) -> Element:
        """The one element with this id; AssertionError for none or several."""
        found = [element for element in self.elements if element.get("id") == identifier]
        assert len(found) == 1, f"{len(found)} elements have the id {identifier!r}"
        return found[0]

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]

    def with_class(self, name: str) -> list[Element]:
        return [element for element in self.elements if name in (element.get("class") or "").split()]


def parse(html: str) -> Markup:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return Markup(reader.elements)


def refused_by_csp(html: str) -> list[str]:
    """What the console's policy would block, or what reaches for another host."""
    found = []
    for element in parse(html).elements:
        if element.tag == "style" or (element.tag == "script" and not element.get("src")):
            found.append(f"inline <{element.tag}>")
        for name, value in element.attributes.items():
            if name == "style" or name.startswith("on"):
                found.append(f'{name}="{value}" on <{element.tag}>')
            if name in LOADING_ATTRIBUTES and re.match(r"\s*(javascript:|(\w+:)?//)", value, re.IGNORECASE):
                found.append(f'{name}="{value}" on <{element.tag}>')
    return found


class _Reader(HTMLParser):
    VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "use", "source", "wbr"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in self.VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        for index in range(len(self._open) - 1, -1, -1):
            if self._open[index].tag == tag:
                del self._open[index:]
                return

    def handle_data(self, data: str) -> None:
        if self._open:
            self._open[-1].text += data
