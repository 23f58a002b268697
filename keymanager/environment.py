"""Every environment variable of Key Manager, declared once: type, default, unit, readers, meaning.

``keymanager/settings.py`` takes its values from here, so there is no variable without a description, and
``make docs`` writes ``docs/reference/settings.md`` from it. To add one, declare it in its section and read it
in the settings.

A variable that is empty counts as not set, for every type. A value that does not fit raises
``ImproperlyConfigured``, which names the variable and what fits, and never the value: it may be a secret.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Generic, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import environ
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")
V = TypeVar("V", bound="Variable[Any]")

WEB: Final = "web"
WORKER: Final = "worker"
BEAT: Final = "beat"
EVERY_PROCESS: Final = (WEB, WORKER, BEAT)


class Unfit(ValueError):
    """The text is no value of this type; the message completes the sentence *must be …*."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable(Generic[T]):
    """One variable. ``default_words`` tells a default that is computed; ``wrong`` what a wrong value does."""

    kind: ClassVar[str]

    name: str
    default: T
    readers: tuple[str, ...]
    meaning: str
    wrong: str
    unit: str = ""
    default_words: str = ""

    def read(self, *, default: T | None = None, environment: Mapping[str, str] | None = None) -> T:
        """The value; the default (this one's, or a computed one) where none is set. ImproperlyConfigured."""
        text = (os.environ if environment is None else environment).get(self.name, "").strip()
        if not text:
            return self.default if default is None else default
        try:
            return self.parse(text)
        except Unfit as reason:
            raise ImproperlyConfigured(f"{self.name} must be {reason}.") from None

    def parse(self, text: str) -> T:
        """The value that the text stands for. Unfit when there is none."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Variable[str]):
    kind = "text"

    choices: tuple[str, ...] = ()

    def parse(self, text: str) -> str:
        if self.choices and text not in self.choices:
            raise Unfit(f"one of {', '.join(self.choices)}")
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeZone(Variable[str]):
    kind = "time zone"

    def parse(self, text: str) -> str:
        try:
            return ZoneInfo(text).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise Unfit("a time zone such as Europe/Vienna") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Variable[bool]):
    kind = "yes/no"

    _words: ClassVar[dict[str, bool]] = {
        **dict.fromkeys(("1", "yes", "true", "on"), True),
        **dict.fromkeys(("0", "no", "false", "off"), False),
    }

    def parse(self, text: str) -> bool:
        try:
            return self._words[text.lower()]
        except KeyError:
            raise Unfit("1 or 0 (yes or no, true or false, on or off)") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Variable[int]):
    kind = "whole number"

    least: int = 0

    def parse(self, text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < self.least:
            raise Unfit(f"a whole number, {self.least} or more")
        return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Variable[float]):
    """A positive number."""

    kind = "number"

    def parse(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0.0 < value < float("inf"):
            raise Unfit("a number above 0")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Names(Variable[tuple[str, ...]]):
    """Texts separated by commas; spaces around each and empty ones do not count."""

    kind = "list, separated by commas"

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(name for name in (part.strip() for part in text.split(",")) if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUrl(Variable[dict[str, Any]]):
    """What Django's DATABASES wants to know of a database, from a URL."""

    kind = "URL"

    _schemes: ClassVar = ("postgres://", "postgresql://", "sqlite://")

    def parse(self, text: str) -> dict[str, Any]:
        if not text.startswith(self._schemes):
            raise Unfit("a URL that begins with postgres:// or sqlite://")
        try:
            found: dict[str, Any] = environ.Env.db_url_config(text)
        except ValueError:
            raise Unfit("postgres://user:password@host:port/name, with %-escapes for signs in it") from None
        return found


@dataclass(frozen=True, slots=True)
class Section:
    """Variables that belong together, in the order in which the reference lists them."""

    title: str
    introduction: str = ""
    variables: list[Variable[Any]] = field(default_factory=list)

    def add(self, variable: V) -> V:
        self.variables.append(variable)
        return variable


PROCESS: Final = Section("What this process is")

ROLE = PROCESS.add(
    Text(
        name="KEYMANAGER_ROLE",
        default="web",
        choices=EVERY_PROCESS,
        readers=EVERY_PROCESS,
        meaning="`web` serves the console and holds public sealing keys only; `worker` opens secrets and "
        "talks to HSMs; `beat` sends periodic tasks and does neither.",
        wrong="The process does not start. A worker that is told to be `web` refuses to hold private keys, "
        "and cannot open secrets without them.",
    )
)
DEMO = PROCESS.add(
    Switch(
        name="KEYMANAGER_DEMO",
        default=False,
        readers=EVERY_PROCESS,
        meaning="The demo: accepts the demo's sealing keys, and plain HTTP. Never in production.",
        wrong="In production: sessions go over plain HTTP, and keys that lie open on a disk are accepted.",
    )
)
DEBUG = PROCESS.add(
    Switch(
        name="KEYMANAGER_DEBUG",
        default=False,
        readers=EVERY_PROCESS,
        meaning="Django's debug pages, for developers. Never in production.",
        wrong="In production: an error page shows settings and source code to everybody.",
    )
)
LOG_LEVEL = PROCESS.add(
    Text(
        name="KEYMANAGER_LOG_LEVEL",
        default="INFO",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
        readers=EVERY_PROCESS,
        meaning="What is logged, from this level up. Logs go to standard error, one JSON object a line.",
        wrong="The process does not start. `WARNING` or `ERROR` leave out which HSM request was answered "
        "how.",
    )
)
TIME_ZONE = PROCESS.add(
    TimeZone(
        name="KEYMANAGER_TIME_ZONE",
        default="UTC",
        readers=(WEB, WORKER),
        meaning="The zone in which pages show times and forms read dates, such as `Europe/Vienna`. Records "
        "keep UTC.",
        wrong="A zone that does not exist: the process does not start.",
    )
)

BROWSER: Final = Section("What browsers see")

SECRET_KEY = BROWSER.add(
    Text(
        name="KEYMANAGER_SECRET_KEY",
        default="",
        default_words="none: it must be set",
        readers=EVERY_PROCESS,
        meaning="A long random value, the same for all processes; signs sessions and forms.",
        wrong="Without it nothing starts. A new value signs everybody out; nothing else is lost. Whoever "
        "knows it can forge sessions.",
    )
)
ALLOWED_HOSTS = BROWSER.add(
    Names(
        name="KEYMANAGER_ALLOWED_HOSTS",
        default=("localhost", "127.0.0.1", "[::1]"),
        readers=(WEB,),
        meaning="The host names under which people open the console. The container's health check asks "
        "under the first one.",
        wrong="Every page answers *Bad Request (400)*.",
    )
)
TRUSTED_ORIGINS = BROWSER.add(
    Names(
        name="KEYMANAGER_TRUSTED_ORIGINS",
        default=(),
        readers=(WEB,),
        meaning="The addresses, with scheme, from which forms may be sent: `https://keys.example.org`. "
        "Needed behind a proxy.",
        wrong="Pages open, and every form answers *CSRF verification failed (403)*. Without a scheme the "
        "process does not start.",
    )
)
BEHIND_TLS_PROXY = BROWSER.add(
    Switch(
        name="KEYMANAGER_BEHIND_TLS_PROXY",
        default=False,
        readers=(WEB,),
        meaning="Believe the proxy's `X-Forwarded-Proto`, and the last address in its `X-Forwarded-For`. "
        "Only where a proxy sets both for every request.",
        wrong="Off behind a proxy: forms answer 403, and everybody seems to come from the proxy's address. "
        "On without one: a client can pretend that it uses HTTPS, and that it is elsewhere.",
    )
)
HSTS_SECONDS = BROWSER.add(
    Whole(
        name="KEYMANAGER_HSTS_SECONDS",
        default=0,
        unit="seconds",
        readers=(WEB,),
        meaning="How long browsers insist on HTTPS for this host; a year is 31536000.",
        wrong="Too long, on a host that must serve plain HTTP again: browsers refuse it until the time is "
        "over.",
    )
)
INSECURE_HTTP = BROWSER.add(
    Switch(
        name="KEYMANAGER_INSECURE_HTTP",
        default=False,
        default_words="as `KEYMANAGER_DEMO`",
        readers=(WEB,),
        meaning="Send session cookies over plain HTTP as well.",
        wrong="On: whoever listens on the network can take over a session. Off, without TLS: nobody can "
        "sign in.",
    )
)

SIGN_IN_FAILURES = BROWSER.add(
    Whole(
        name="KEYMANAGER_SIGN_IN_FAILURES",
        default=5,
        least=1,
        readers=(WEB,),
        meaning="After so many failed sign-ins in a row, a user name is locked for the address they came "
        "from. An administrator unlocks it under People, or `manage.py unlock_person` does.",
        wrong="Too few: people who mistype are locked out. Too many: passwords can be guessed.",
    )
)
SIGN_IN_LOCK_MINUTES = BROWSER.add(
    Whole(
        name="KEYMANAGER_SIGN_IN_LOCK_MINUTES",
        default=15,
        least=1,
        unit="minutes",
        readers=(WEB,),
        meaning="How long such a lock holds after the last failure; failures older than that are forgotten.",
        wrong="Too short: passwords can be guessed. Too long: people wait, or need an administrator.",
    )
)

DATA: Final = Section("Where data is")

DATABASE_URL = DATA.add(
    DatabaseUrl(
        name="KEYMANAGER_DATABASE_URL",
        default={},
        default_words="SQLite, in the data folder",
        readers=EVERY_PROCESS,
        meaning="`postgres://user:password@host:5432/name`; signs such as `@` or `/` in the password as "
        "`%40`, `%2F`. PostgreSQL is the production database; SQLite is for a first look.",
        wrong="No database there: pages answer with an error, and workers wait. Another database than the "
        "other processes': work that is asked for is never done.",
    )
)
BROKER_URL = DATA.add(
    Text(
        name="KEYMANAGER_BROKER_URL",
        default="redis://localhost:6379/0",
        readers=EVERY_PROCESS,
        meaning="Redis or Valkey: `redis://:password@host:6379/0`, `rediss://` for TLS, "
        "`redis+socket:///path` for a socket.",
        wrong="What is asked for is kept, and waits: *The message broker does not answer*.",
    )
)
DATA_DIR = DATA.add(
    Text(
        name="KEYMANAGER_DATA_DIR",
        default="",
        default_words="`var` beside `manage.py`",
        readers=EVERY_PROCESS,
        meaning="The folder for the SQLite database and collected static files. PostgreSQL needs none.",
        wrong="With SQLite: *unable to open database file*.",
    )
)
STATIC_ROOT = DATA.add(
    Text(
        name="KEYMANAGER_STATIC_ROOT",
        default="",
        default_words="`static` in the data folder",
        readers=(WEB,),
        meaning="Where `collectstatic` puts files.",
        wrong="None where pages are served from the source tree: files are found there as well.",
    )
)

SEALING: Final = Section("Sealing keys and licence")

PUBLIC_KEYS_FILE = SEALING.add(
    Text(
        name="KEYMANAGER_PUBLIC_KEYS_FILE",
        default="",
        readers=EVERY_PROCESS,
        meaning="The public sealing keys, `public.json` of `manage.py make_sealing_keys`. Web and workers "
        "need it.",
        wrong="The process does not start: `secretstore.E001` or `E002`.",
    )
)
PRIVATE_KEYS_FILE = SEALING.add(
    Text(
        name="KEYMANAGER_PRIVATE_KEYS_FILE",
        default="",
        readers=(WORKER,),
        meaning="The workers' private sealing keys, `private.json`, closed to other users.",
        wrong="The process does not start: `secretstore.E003`, `E004` or `E006`; where web or beat can read "
        "the file, `E005`.",
    )
)
PRIVATE_KEYS = SEALING.add(
    Text(
        name="KEYMANAGER_PRIVATE_KEYS",
        default="",
        readers=(WORKER,),
        meaning="The content of `private.json` instead of a file, where a platform hands secrets over in "
        "the environment.",
        wrong="As for the file.",
    )
)
LICENCE_ISSUER_KEYS_FILE = SEALING.add(
    Text(
        name="KEYMANAGER_LICENCE_ISSUER_KEYS_FILE",
        default="",
        readers=(WEB, WORKER),
        meaning="The public keys of the licence's issuer, PEM.",
        wrong="No licence can be installed, and none counts: *No issuer is known here*.",
    )
)

TRAFFIC: Final = Section(
    "Where HSM traffic and secrets may go",
    "Two allow-lists. What is not on them is refused when a source is saved, and again before anything is "
    "sent. A list that is set replaces the default.",
)

HSM_HOSTS = TRAFFIC.add(
    Names(
        name="KEYMANAGER_HSM_HOSTS",
        default=(".managedhsm.azure.net", ".managedhsm.usgovcloudapi.net", ".managedhsm.azure.cn"),
        readers=EVERY_PROCESS,
        meaning="`.suffix` allows every host below it; `host[:port]=audience` allows one host, with the "
        "audience that its tokens are for. Loopback names work only when listed like that.",
        wrong="An entry of another form: the process does not start, `keymanager.E004`. A host that is "
        "missing: *… is not among the HSM hosts allowed here*.",
    )
)
TOKEN_HOSTS = TRAFFIC.add(
    Names(
        name="KEYMANAGER_TOKEN_HOSTS",
        default=(
            "login.microsoftonline.com",
            "login.microsoftonline.us",
            "login.chinacloudapi.cn",
            "sts.windows.net",
            "login.windows.net",
        ),
        readers=EVERY_PROCESS,
        meaning="The hosts that a client secret may be sent to.",
        wrong="A host that does not belong here can collect client secrets. One that is missing: *… is not "
        "among the sign-in hosts allowed here*.",
    )
)
ALLOW_MEMORY_SOURCES = TRAFFIC.add(
    Switch(
        name="KEYMANAGER_ALLOW_MEMORY_SOURCES",
        default=False,
        readers=(WEB, WORKER),
        meaning="Crypto sources in a worker's memory, for tests. Never in production.",
        wrong="On: the keys of such a source are gone with the process.",
    )
)

LADDER: Final = Section(
    "The time ladder",
    "The same for all processes. Each of the first five must be less than the next, or a second worker "
    "could act on a key while the first one still does; otherwise no process starts (`keymanager.E001`).",
)

PROVIDER_DEADLINE = LADDER.add(
    Number(
        name="KEYMANAGER_PROVIDER_DEADLINE",
        default=30.0,
        unit="seconds",
        readers=EVERY_PROCESS,
        meaning="The most that one call to an HSM may take, connecting and signing in included.",
        wrong="Too small: calls that would have worked end as *did not answer in time*, and are repeated.",
    )
)
SOFT_LIMIT = LADDER.add(
    Number(
        name="KEYMANAGER_SOFT_LIMIT",
        default=60.0,
        unit="seconds",
        readers=EVERY_PROCESS,
        meaning="A task is asked to end.",
        wrong="Too small: *The step took longer than a task may*.",
    )
)
HARD_LIMIT = LADDER.add(
    Number(
        name="KEYMANAGER_HARD_LIMIT",
        default=90.0,
        unit="seconds",
        readers=EVERY_PROCESS,
        meaning="A task is killed. Give a worker that is stopped more time than this.",
        wrong="Too near to the soft limit: tasks are killed before they could write down how far they came.",
    )
)
CLAIM_SECONDS = LADDER.add(
    Number(
        name="KEYMANAGER_CLAIM_SECONDS",
        default=180.0,
        unit="seconds",
        readers=EVERY_PROCESS,
        meaning="A worker's claim on an operation ends; another worker may take it up.",
        wrong="Too large: after a worker was killed its operation shows *running* for that long.",
    )
)
VISIBILITY_TIMEOUT = LADDER.add(
    Number(
        name="KEYMANAGER_VISIBILITY_TIMEOUT",
        default=600.0,
        unit="seconds",
        readers=EVERY_PROCESS,
        meaning="The broker hands out again what no worker confirmed.",
        wrong="Too large is harmless: rows are looked through anyway.",
    )
)
RESEND_SECONDS = LADDER.add(
    Number(
        name="KEYMANAGER_RESEND_SECONDS",
        default=5.0,
        unit="seconds",
        readers=EVERY_PROCESS,
        meaning="An operation whose message no worker has taken is sent again after so long, then after "
        "twice as long, at most five minutes. Beat looks for connection tests and throw-away keys that are "
        "due after each such time; for operations every second, or as often where this is shorter.",
        wrong="Too small: needless load. Too large: a lost message and an interrupted test wait longer. "
        "Pauses and the keys of a batch do not depend on it.",
    )
)
MAX_ATTEMPTS = LADDER.add(
    Whole(
        name="KEYMANAGER_MAX_ATTEMPTS",
        default=10,
        least=1,
        unit="attempts",
        readers=(WEB, WORKER),
        meaning="After so many failed attempts at one step, each worth repeating, an operation fails and "
        "waits for a person.",
        wrong="Too small: a short outage of the HSM leaves failed operations behind.",
    )
)

SETTINGS: Final = (PROCESS, BROWSER, DATA, SEALING, TRAFFIC, LADDER)

COMPOSE: Final = "docker-compose.yml"
ELSEWHERE: Final = Section(
    "Read by others than the console",
    "For `docker-compose.yml`, the sandbox and the tests. The console's processes do not look at these.",
)

ELSEWHERE.add(
    Text(
        name="POSTGRES_PASSWORD",
        default="",
        default_words="none: it must be set",
        readers=(COMPOSE,),
        meaning="The database user's password. Letters and digits only: it becomes part of a URL.",
        wrong="Another one than at the first start: nothing can sign in to the database.",
    )
)
ELSEWHERE.add(
    Text(
        name="REDIS_PASSWORD",
        default="",
        default_words="none: it must be set",
        readers=(COMPOSE,),
        meaning="The broker's password. Letters and digits only: it becomes part of a URL.",
        wrong="With other signs in it the broker cannot be reached, and what is asked for waits.",
    )
)
ELSEWHERE.add(
    Text(
        name="KEYMANAGER_SECRETS",
        default="./secrets",
        readers=(COMPOSE,),
        meaning="The folder of `public.json`, `private.json` and `licence-issuer.pem`.",
        wrong="Compose does not start the containers.",
    )
)
ELSEWHERE.add(
    Text(
        name="KEYMANAGER_VERSION",
        default="latest",
        readers=(COMPOSE,),
        meaning="The tag of the image `key-manager` that is built and run.",
        wrong="A tag that is not there is built from the tree as it is.",
    )
)
ELSEWHERE.add(
    Text(
        name="KEYMANAGER_SANDBOX_DIR",
        default=".sandbox",
        readers=("sandbox",),
        meaning="Where the stand-in HSM keeps its data.",
        wrong="Another folder is another HSM: keys and credentials of the former are not in it.",
    )
)
ELSEWHERE.add(
    Text(
        name="KEYMANAGER_TEST_DATABASE",
        default="",
        default_words="PostgreSQL where its server is installed, else SQLite",
        choices=("postgres", "sqlite"),
        readers=("tests",),
        meaning="The database that the tests run on.",
        wrong="The tests do not start.",
    )
)
ELSEWHERE.add(
    Switch(
        name="KEYMANAGER_TEST_ONLY_DATABASE",
        default=False,
        readers=("tests",),
        meaning="Run only the tests that touch the database.",
        wrong="Fewer tests run than somebody believes.",
    )
)
ELSEWHERE.add(
    Text(
        name="KEYMANAGER_TEST_RECORDINGS",
        default="",
        readers=("tests",),
        meaning="A folder of recorded HSM traffic that the sandbox is compared with.",
        wrong="Those comparisons are skipped.",
    )
)
ELSEWHERE.add(
    Text(
        name="KEYMANAGER_TEST_PICTURES",
        default="",
        readers=("tests",),
        meaning="A folder for pictures of each step of the first-time user's journey.",
        wrong="No pictures.",
    )
)

SECTIONS: Final = (*SETTINGS, ELSEWHERE)
