"""Somebody at the console: opens pages, reads their forms, fills them in and sends them."""

import json
import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

SECONDS = 20


class Refused(Exception):
    """The console did not do what was asked; the text is what it showed."""


@dataclass
class Form:
    """One form of a page: where it goes and what it holds before anybody types."""

    action: str
    method: str
    values: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


@dataclass
class Page:
    url: str
    status: int
    content_type: str
    body: bytes
    forms: list[Form]
    text: str
    links: dict[str, str]
    live: list[str]

    @property
    def gist(self) -> str:
        """The beginning of what the page says, for a message."""
        return self.text[:600]

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    def form(self, *names: str, action: str = "") -> Form:
        """The form that has all these fields and this piece in its address. Raises Refused without one."""
        for form in self.forms:
            if form.names.issuperset(names) and action in form.action:
                return form
        raise Refused(f"{self.path} has no form with {names or action}. It says: {self.gist}")


class _Reader(HTMLParser):
    """Collects forms with their values, links by their text, and the text of the main part."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.live: list[str] = []
        self.words: list[str] = []
        self._select = ""
        self._area = ""
        self._link = ""
        self._hidden = 0
        self._form: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "data-live" in given:
            self.live.append(urljoin(self.url, given["data-live"]))
        if tag in ("script", "style", "svg", "nav", "header"):
            self._hidden += 1
        elif tag == "a":
            self._link = given.get("href", "")
        elif tag == "form":
            action = urljoin(self.url, given.get("action") or self.url)
            self._form = Form(action, given.get("method", "get").lower())
            self.forms.append(self._form)
        elif self._form and tag in ("input", "select", "textarea", "option", "button"):
            self._field(self._form, tag, given)

    def _field(self, form: Form, tag: str, given: dict[str, str]) -> None:
        name = given.get("name", "")
        if tag == "option":
            if self._select and ("selected" in given or self._select not in form.values):
                form.values[self._select] = given.get("value", "")
            return
        form.names.update({name} - {""})
        self._select = name if tag == "select" else ""
        self._area = name if tag == "textarea" else ""
        if tag == "textarea":
            form.values[name] = ""
        if tag == "input" and name and self._counts(given):
            ticked = "on" if given.get("type") in ("checkbox", "radio") else ""
            form.values[name] = given.get("value", ticked)

    @staticmethod
    def _counts(given: dict[str, str]) -> bool:
        """What a browser would send: no buttons, no files, no empty boxes, nothing disabled."""
        kind = given.get("type", "text")
        if "disabled" in given or kind in ("submit", "button", "file", "image", "reset"):
            return False
        return kind not in ("checkbox", "radio") or "checked" in given

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style", "svg", "nav", "header"):
            self._hidden = max(0, self._hidden - 1)
        elif tag == "a":
            self._link = ""
        elif tag == "textarea":
            self._area = ""
        elif tag == "select":
            self._select = ""
        elif tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        words = " ".join(data.split())
        if self._area and self._form:
            self._form.values[self._area] += data
        elif words and self._link:
            self.links.setdefault(words, urljoin(self.url, self._link))
        if words and not self._hidden and not self._area:
            self.words.append(words)


class Person:
    """A signed-in user of the console, with cookies of their own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._session = requests.Session()
        self._session.trust_env = False

    def sign_in(self, username: str, password: str) -> None:
        """Raises Refused when the console does not let us in."""
        page = self.open("/login/")
        page = self.send(page.form("username", "password"), username=username, password=password)
        if page.path.startswith("/login"):
            raise Refused(f"{username} cannot sign in: {page.gist}")

    def open(self, path: str) -> Page:
        """Raises Refused for an answer of 400 and above."""
        return self._page(self._session.get(urljoin(self.address, path), timeout=SECONDS))

    def send(self, form: Form, *, files: dict[str, Any] | None = None, **answers: str | None) -> Page:
        """Fill in and send; an answer of None clears a box. Raises Refused for a field the form lacks."""
        if unknown := set(answers) - form.names:
            raise Refused(f"The form at {form.action} has no field {', '.join(sorted(unknown))}")
        values = {name: value for name, value in (form.values | answers).items() if value is not None}
        if form.method == "get":
            return self._page(self._session.get(form.action, params=values, timeout=SECONDS))
        headers = {"Referer": form.action}
        return self._page(
            self._session.post(form.action, data=values, files=files, headers=headers, timeout=SECONDS)
        )

    def json(self, path: str) -> dict[str, Any]:
        """The JSON object at this address. Raises Refused for an answer of 400 and above."""
        found: dict[str, Any] = json.loads(self.open(path).body)
        return found

    def wait(self, path: str, *, seconds: float) -> dict[str, Any]:
        """Ask for the JSON at ``path`` until it says that it is finished. Raises Refused when it is late."""
        deadline = time.monotonic() + seconds
        while not (found := self.json(path))["finished"]:
            if time.monotonic() > deadline:
                raise Refused(f"{path} did not finish within {seconds:g} s")
            time.sleep(0.1)
        return found

    def _page(self, response: requests.Response) -> Page:
        content_type = response.headers.get("Content-Type", "")
        reader = _Reader(response.url)
        if content_type.startswith("text/html"):
            reader.feed(response.text)
        page = Page(
            url=response.url,
            status=response.status_code,
            content_type=content_type,
            body=response.content,
            forms=reader.forms,
            text=" ".join(reader.words),
            links=reader.links,
            live=reader.live,
        )
        if page.status >= 400:
            raise Refused(f"{page.path} answered {page.status}: {page.gist}")
        return page
