"""Values from the environment: read strictly, an empty one is none, a wrong one is named and never shown."""

import os
import subprocess
import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from demo.processes import ROOT
from keymanager import environment as env


def read(variable: env.Variable[Any], text: str) -> Any:
    return variable.read(environment={variable.name: text})


@pytest.mark.parametrize("section", env.SECTIONS, ids=lambda section: section.title)
def test_an_empty_value_is_none(section: env.Section) -> None:
    """Compose hands on an empty text for ``${NAME:-}``: it must not become an empty list or an error."""
    for variable in section.variables:
        assert read(variable, "") == read(variable, "  ") == variable.read(environment={}) == variable.default


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        (env.ROLE, "worker", "worker"),
        (env.TIME_ZONE, "Europe/Vienna", "Europe/Vienna"),
        (env.DEMO, "Yes", True),
        (env.DEBUG, "0", False),
        (env.HSTS_SECONDS, "31536000", 31536000),
        (env.CLAIM_SECONDS, "2.5", 2.5),
        (
            env.HSM_HOSTS,
            " .a.example, b.example:8443=https://b.example ,",
            (".a.example", "b.example:8443=https://b.example"),
        ),
        (env.SECRET_KEY, "$begins-with-a-dollar", "$begins-with-a-dollar"),
    ],
)
def test_values(variable: env.Variable[Any], text: str, value: object) -> None:
    assert read(variable, text) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        (env.ROLE, "wroker"),
        (env.LOG_LEVEL, "LOUD"),
        (env.TIME_ZONE, "Europe/Nowhere"),
        (env.TIME_ZONE, "../../etc/passwd"),
        (env.BEHIND_TLS_PROXY, "ja"),
        (env.HSTS_SECONDS, "-1"),
        (env.MAX_ATTEMPTS, "0"),
        (env.SOFT_LIMIT, "sixty"),
        (env.SOFT_LIMIT, "-2.5"),
        (env.SOFT_LIMIT, "nan"),
        (env.SOFT_LIMIT, "inf"),
        (env.DATABASE_URL, "mysql://keymanager:pass-word@host/name"),
        (env.DATABASE_URL, "postgres://keymanager:pass-word@host:port/name"),
    ],
)
def test_a_wrong_value_names_the_variable_and_hides_itself(variable: env.Variable[Any], text: str) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        read(variable, text)
    assert str(raised.value).startswith(f"{variable.name} must be ")
    assert text not in str(raised.value)
    assert "pass-word" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_database_url() -> None:
    found = read(env.DATABASE_URL, "postgres://keymanager:p%40ss@db.example:5432/keys")
    assert (found["ENGINE"], found["NAME"], found["PASSWORD"]) == (
        "django.db.backends.postgresql",
        "keys",
        "p@ss",
    )


def test_a_computed_default_gives_way_to_a_value() -> None:
    assert env.INSECURE_HTTP.read(default=True, environment={}) is True
    assert env.INSECURE_HTTP.read(default=True, environment={"KEYMANAGER_INSECURE_HTTP": "0"}) is False


def test_a_process_does_not_start_with_a_wrong_value_and_its_last_words_name_the_variable() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "KEYMANAGER_SECRET_KEY": "x", "KEYMANAGER_ROLE": "wroker"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.strip().endswith("KEYMANAGER_ROLE must be one of web, worker, beat.")
